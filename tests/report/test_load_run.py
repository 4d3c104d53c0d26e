"""Problems of a run are kept, and it does not pass."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from vlm_parity.report.entries import list_stages
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzRecord, FuzzSummary
from vlm_parity.schema.record import write_record
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


def test_a_complete_run_of_matches_passes(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(case="one"), records.verdict(case="two"))
    run = load_run(builder.folder)
    assert run.passes
    assert (run.started, run.finished) == ("2026-03-01T09:00:00Z", "2026-03-01T09:04:10Z")


def test_a_folder_without_parts_does_not_pass(tmp_path: Path) -> None:
    run = load_run(tmp_path)
    assert not run.passes
    assert run.problems == ("the run holds no shard",)


def test_a_part_without_verdicts_does_not_pass(builder: RunBuilder) -> None:
    builder.shard(expected=0)
    run = load_run(builder.folder)
    assert not run.passes
    assert run.shards[0].incomplete_reason == "it compared nothing"


def test_a_run_in_which_nothing_is_supported_does_not_pass(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.silent(VerdictKind.UNSUPPORTED, "No images."))
    assert not load_run(builder.folder).passes


def test_one_comparison_carries_unsupported_ones(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), records.silent(VerdictKind.UNSUPPORTED, "No videos.", case="video"))
    assert load_run(builder.folder).passes


def test_a_part_with_too_few_verdicts_is_incomplete(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), expected=3)
    run = load_run(builder.folder)
    assert [shard.incomplete_reason for shard in run.incomplete] == ["1 of 3 expected verdicts"]
    assert not run.passes


def test_a_part_with_verdicts_of_an_earlier_session_is_incomplete(
    builder: RunBuilder, records: ModuleType
) -> None:
    builder.shard(records.verdict(case="one"), records.verdict(case="two"), expected=1)
    assert load_run(builder.folder).incomplete[0].incomplete_reason == "2 verdicts instead of 1"


def test_a_part_that_was_cut_off_is_incomplete(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(), finished=None)
    run = load_run(builder.folder)
    assert run.incomplete
    assert not run.passes
    assert run.finished is None


def test_a_part_whose_tests_failed_without_a_verdict_is_incomplete(
    builder: RunBuilder, records: ModuleType
) -> None:
    tests = [f"test_prompt[{number}]" for number in range(7)]
    builder.shard(records.verdict(), failed_tests=tests)
    run = load_run(builder.folder)
    assert run.incomplete[0].incomplete_reason == (
        "tests failed that no verdict explains: test_prompt[0], test_prompt[1], test_prompt[2], "
        "test_prompt[3], test_prompt[4] and 2 more"
    )
    assert not run.passes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"unsupported": "no images", "finished": False, "examples": 0}, ""),
        ({"finished": False}, "its session was interrupted or is still running"),
        ({"finished": False, "problem": "it crashed"}, "it crashed"),
        ({"examples": 0}, "it ran no example"),
    ],
)
def test_a_part_that_was_not_fuzzed_to_the_end_is_incomplete(
    builder: RunBuilder, records: ModuleType, changes: dict[str, Any], reason: str
) -> None:
    values = {"model": "m", "backend": "b", "profile": "ci", "seed": 1, "finished": True, "examples": 9}
    summary = FuzzSummary.model_validate(values | changes)
    folder = builder.shard(records.verdict(), fuzz_targets=1)
    write_record(folder / FUZZ_FILE, FuzzRecord(fuzzed=(summary,)))
    run = load_run(builder.folder)
    expected = f"m in b was not fuzzed completely: {reason}" if reason else ""
    assert run.shards[0].incomplete_reason == expected
    assert run.passes == (not reason)


def test_an_unreadable_verdict_is_a_problem(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(records.verdict(), expected=1)
    (shard / "verdicts" / "qwen2_5_vl" / "vllm" / "half.json").write_text('{"case": "half"')
    run = load_run(builder.folder)
    assert len(run.problems) == 1
    assert run.problems[0].startswith(
        "shards/vllm/verdicts/qwen2_5_vl/vllm/half.json: not a readable Verdict"
    )
    assert str(builder.folder) not in run.problems[0]
    assert not run.passes


def test_an_unreadable_part_keeps_its_verdicts(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(records.verdict())
    (shard / "shard.json").write_text("{}")
    run = load_run(builder.folder)
    assert len(run.verdicts) == 1
    assert run.incomplete[0].incomplete_reason == "its shard.json is unreadable"
    assert not run.passes


def test_two_verdicts_on_the_same_are_a_problem(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(records.verdict(), expected=2)
    original = shard / "verdicts" / "qwen2_5_vl" / "vllm" / "one_image.json"
    original.with_name("copy.json").write_bytes(original.read_bytes())
    run = load_run(builder.folder)
    assert "2 verdicts for one_image" in run.problems[-1]
    assert len({entry.page for entry in run.verdicts}) == 2
    assert not run.passes


def test_a_match_must_not_hold_a_mismatch(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(VerdictKind.MATCH, records.wrong_ids()))
    assert "is a match with a stage that mismatches" in load_run(builder.folder).problems[0]


def test_what_is_known_must_say_by_which_entry(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(records.verdict(VerdictKind.KNOWN, records.wrong_ids()))
    assert "is known, but names no known issue" in load_run(builder.folder).problems[0]


def test_a_refusal_that_is_known_has_compared_nothing(builder: RunBuilder, records: ModuleType) -> None:
    words = "transformers refuses it"
    builder.shard(records.silent(VerdictKind.KNOWN, words, known="an entry"), records.verdict(case="two"))
    assert load_run(builder.folder).passes


def test_a_match_must_have_compared_something(builder: RunBuilder, records: ModuleType) -> None:
    skipped = [StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message="so") for stage in Stage]
    builder.shard(records.verdict(case="empty", stages=tuple(skipped)), records.verdict())
    run = load_run(builder.folder)
    assert "is a match without a compared stage" in run.problems[0]
    assert not run.passes


def test_a_missing_stage_is_a_problem_and_counts_as_not_compared(
    builder: RunBuilder, records: ModuleType
) -> None:
    whole = records.verdict()
    builder.shard(records.verdict(stages=whole.stages[:-1]))
    run = load_run(builder.folder)
    assert "every stage once" in run.problems[0]
    shown = list_stages(run.verdicts[0].verdict)
    assert [diff.stage for diff in shown] == list(Stage)
    assert shown[-1].status == DiffStatus.NOT_COMPARED


def test_the_worst_come_first(builder: RunBuilder, records: ModuleType) -> None:
    builder.shard(
        records.verdict(case="match"),
        records.silent(VerdictKind.UNSUPPORTED, "No.", case="unsupported"),
        records.verdict(VerdictKind.MISMATCH, records.wrong_ids(), case="mismatch"),
        records.silent(VerdictKind.ERROR, "No!", case="error"),
        records.silent(VerdictKind.CRASH, "...", case="crash"),
    )
    cases = [entry.verdict.case for entry in load_run(builder.folder).verdicts]
    assert cases == ["crash", "error", "mismatch", "unsupported", "match"]


def test_names_of_any_kind_become_different_file_names(builder: RunBuilder, records: ModuleType) -> None:
    shard = builder.shard(expected=3)
    for number, model in enumerate(("org/name", "org name", "../../up")):
        records.write_record(shard / "verdicts" / f"{number}.json", records.verdict(model=model))
    pages = [entry.page for entry in load_run(builder.folder).verdicts]
    assert len(set(pages)) == 3
    assert all(page.startswith("cases/") and page.count("/") == 1 for page in pages)


def test_infinite_numbers_survive(builder: RunBuilder, records: ModuleType) -> None:
    prefill = records.logits(Stage.PREFILL, [1e-6, float("inf")], first=0)
    builder.shard(records.verdict(VerdictKind.MISMATCH, prefill))
    run = load_run(builder.folder)
    assert not run.problems
    assert run.verdicts[0].verdict.stage(Stage.PREFILL).metrics["max_abs"] == float("inf")
