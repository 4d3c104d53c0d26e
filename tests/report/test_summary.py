"""Counts that add up, one sentence, and a document that says no more than the records."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun, load_run
from vlm_parity.report.page_styles import KIND_STYLE
from vlm_parity.report.summary import VerdictCounts, build_count_cells, build_report_json, format_headline
from vlm_parity.report.terminal import print_summary
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


@pytest.fixture
def run(builder: RunBuilder) -> LoadedRun:
    return load_run(builder.sample())


def _printed(run: LoadedRun) -> str:
    output = io.StringIO()
    print_summary(run, Console(width=120, file=output))
    return output.getvalue()


def test_passed_failed_and_not_compared_are_all_stages(run: LoadedRun) -> None:
    counts = [*build_count_cells(run).values(), VerdictCounts.of(entry.verdict for entry in run.verdicts)]
    for each in counts:
        assert each.stages.total() == len(Stage) * each.kinds.total()


def test_cells_add_up_to_the_run(run: LoadedRun) -> None:
    cells = build_count_cells(run).values()
    assert sum(cell.kinds.total() for cell in cells) == len(run.verdicts) == 27
    assert sum(cell.kinds[VerdictKind.MISMATCH] for cell in cells) == 3


def test_a_cell_names_its_earliest_divergence(run: LoadedRun) -> None:
    assert build_count_cells(run)["qwen2_5_vl", "lmdeploy"].first_divergence == Stage.PROMPT
    assert build_count_cells(run)["qwen2_5_vl", "vllm"].first_divergence == Stage.PREFILL


def test_the_headline_counts_mismatches_and_names_the_first_stage(run: LoadedRun) -> None:
    assert format_headline(run) == (
        "4 of 27 comparisons differ, 1 of them known; first new one at prompt; 1 crash; 1 error"
    )


@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        (["match"], "None of 1 comparisons differs"),
        (["match", "mismatch"], "1 of 2 comparisons differs; first at prompt"),
        (["match", "known"], "1 of 2 comparisons differs, all of them known"),
        (["known", "known"], "2 of 2 comparisons differ, all of them known"),
        (["known", "mismatch"], "2 of 2 comparisons differ, 1 of them known; first new one at prompt"),
        (["fixed", "match"], "None of 2 comparisons differs; 1 fixed"),
    ],
)
def test_the_headline_tells_new_from_known(
    builder: RunBuilder, records: ModuleType, kinds: Any, sentence: Any
) -> None:
    builder.shard(*(one_of(records, kind, number) for number, kind in enumerate(kinds)))
    assert format_headline(load_run(builder.folder)) == sentence


def one_of(records: ModuleType, kind: Any, number: Any) -> Any:
    prompt = StageDiff(stage=Stage.PROMPT, status=DiffStatus.MISMATCH, message="prompts differ")
    diffs = [prompt] if kind in {"mismatch", "known"} else []
    known = "an entry" if kind in {"known", "fixed"} else ""
    return records.verdict(VerdictKind(kind), *diffs, case=f"case_{number}", known=known)


def test_known_mismatches_pass_and_show_the_note(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(one_of(records, "known", 1))
    run = load_run(builder.folder)
    assert run.passes
    assert build_report_json(run)["verdicts"][0]["known"] == "an entry"
    assert "1 known" in _printed(run)


def test_failures_of_the_harness_come_first_and_do_not_pass(builder: RunBuilder, records: ModuleType) -> None:
    failed = records.silent(VerdictKind.HARNESS_ERROR, "the harness failed", case="failed")
    crashed = records.silent(VerdictKind.CRASH, "it crashed", case="crashed")
    builder.shard(records.verdict(), crashed, failed)
    run = load_run(builder.folder)
    assert not run.passes
    assert [entry.verdict.case for entry in run.verdicts] == ["failed", "crashed", "one_image"]
    assert format_headline(run) == "None of 3 comparisons differs; 1 harness_error; 1 crash"


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_kind_has_its_place_and_its_symbol(kind: VerdictKind) -> None:
    assert kind in SEVERITY_ORDER
    assert kind in KIND_STYLE


def test_fixed_ones_do_not_pass(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(one_of(records, "fixed", 1))
    assert not load_run(builder.folder).passes


def test_an_entry_that_fits_nothing_in_any_part_is_remarked_on(
    builder: RunBuilder, records: ModuleType
) -> None:
    builder.shard(records.verdict(), name="one", known_issues={"old [red]": 0, "used": 0})
    builder.shard(records.verdict(), name="two", known_issues={"used": 3})
    run = load_run(builder.folder)
    assert run.passes
    sentence = "Known issue old [red] applied to no comparison: check its versions, cases and models."
    assert build_report_json(run)["run"]["remarks"] == [sentence]
    assert sentence in _printed(run)


def test_the_headline_of_a_healthy_run(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict())
    assert format_headline(load_run(builder.folder)) == "None of 1 comparisons differs"


def test_the_headline_of_an_empty_run(tmp_path: Path) -> None:
    assert format_headline(load_run(tmp_path)) == "Nothing was compared"


def test_the_document_holds_every_verdict_with_every_stage(run: LoadedRun) -> None:
    document = build_report_json(run)
    assert document["schema"] == 2
    assert len(document["verdicts"]) == 27
    for verdict in document["verdicts"]:
        assert [stage["stage"] for stage in verdict["stages"]] == list(Stage)
    counts = document["run"]["counts"]
    assert counts["verdicts"]["all"] == 27
    assert sum(count for name, count in counts["stages"].items() if name != "all") == counts["stages"]["all"]
    assert sum(cell["verdicts"]["all"] for cell in document["run"]["cells"]) == 27


def test_verdicts_refer_to_environments(run: LoadedRun) -> None:
    document = build_report_json(run)
    for verdict in document["verdicts"]:
        assert verdict["reference_environment"] in document["environments"]
    tested = {
        verdict["backend_environment"] for verdict in document["verdicts"] if verdict["verdict"] == "match"
    }
    packages = [document["environments"][id_]["packages"] for id_ in tested]
    assert {"vllm", "lmdeploy"} == {name for found in packages for name in found} - {"torch", "transformers"}


def test_the_document_is_strict_json_even_with_infinities(builder: RunBuilder, records: ModuleType) -> None:
    prefill = records.logits(Stage.PREFILL, [float("inf")], first=0)
    builder.shard(records.verdict(VerdictKind.MISMATCH, prefill))
    text = json.dumps(build_report_json(load_run(builder.folder)), allow_nan=False)
    stages = json.loads(text)["verdicts"][0]["stages"]
    assert stages[7]["metrics"]["max_abs"] == "inf"


def test_the_document_tells_of_problems(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), expected=2)
    run = build_report_json(load_run(builder.folder))["run"]
    assert run["passes"] is False
    assert run["shards"][0]["complete"] is False
    assert run["shards"][0]["incomplete_reason"] == "1 of 2 expected verdicts"


def test_the_terminal_shows_counts_the_first_stage_and_the_page(run: LoadedRun) -> None:
    text = _printed(run)
    assert "1 crash" in text
    assert "first at prefill" in text
    assert "does not pass" in text
    assert str(run.folder / "index.html") in text


def test_the_terminal_shows_what_is_incomplete_and_takes_names_literally(
    builder: RunBuilder, records: ModuleType
) -> None:
    builder.shard(records.verdict(model="[red]name[/red]"), expected=5)
    text = _printed(load_run(builder.folder))
    assert "[red]name[/red]" in text
    assert "incomplete: 1 of 5 expected verdicts" in text
