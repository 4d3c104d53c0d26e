"""Publishing: pages beside the records, one report from many runs, and a link to the latest."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.traces import TraceFiles, make_trace, write_shard
from vlm_parity.report import publish
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.publish import (
    apply_known_issues_to_run,
    merge_runs,
    publish_report,
    withdraw_report,
)
from vlm_parity.schema.shard_folder import ShardHold, create_shard
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.errors import UsageError
from vlm_parity.verdicts.known_issues import KnownIssue


@pytest.fixture
def match(trace_files: TraceFiles) -> Verdict:
    return trace_files.decide_verdict()


@pytest.fixture
def mismatch(trace_files: TraceFiles) -> Verdict:
    trace_files.write(trace_files.tested, make_trace(prompt="other"))
    return trace_files.decide_verdict()


def shards(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "shards").iterdir())


def test_pages_and_the_document_are_written(tmp_path: Path, mismatch: Verdict) -> None:
    write_shard(tmp_path / "run", "vllm", mismatch)
    run = publish_report(tmp_path / "run")
    assert not run.passes
    assert (tmp_path / "run" / "index.html").is_file()
    assert (tmp_path / "run" / run.verdicts[0].page).is_file()
    document = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [verdict["first_divergence"] for verdict in document["verdicts"]] == ["prompt"]


def test_a_withdrawn_report_leaves_the_records(tmp_path: Path, match: Verdict) -> None:
    write_shard(tmp_path, "vllm", match)
    assert publish_report(tmp_path).passes
    withdraw_report(tmp_path)
    assert not (tmp_path / "report.json").exists()
    assert not (tmp_path / "index.html").exists()
    assert load_run(tmp_path).passes
    withdraw_report(tmp_path)


def test_latest_points_to_what_was_published_last(tmp_path: Path, match: Verdict) -> None:
    latest = tmp_path / "latest"
    for name in ("one", "two", "one"):
        write_shard(tmp_path / name, "vllm", match)
        publish_report(tmp_path / name)
        assert latest.resolve() == tmp_path / name
    assert not latest.readlink().is_absolute()  # the folder of all runs may be moved
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_shard_that_is_replaced_meanwhile_does_not_pass(
    tmp_path: Path, match: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path, "vllm", match)
    holds: list[ShardHold] = []

    def begin_another_session_and_write(run: LoadedRun, changes: None) -> Path:
        if not holds:
            holds.append(create_shard(tmp_path / "shards" / "vllm"))
        return write_report(run, changes)

    monkeypatch.setattr(publish, "write_report", begin_another_session_and_write)
    assert not publish_report(tmp_path).passes
    assert not json.loads((tmp_path / "report.json").read_text())["run"]["passes"]


def test_a_folder_in_place_of_the_report_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(UsageError, match=r"report\.json: a folder in place of the report; remove it"):
        withdraw_report(tmp_path)
    assert (tmp_path / "report.json").is_dir()


def test_a_kill_before_the_link_leaves_nothing_beside_the_run(
    tmp_path: Path, match: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "runs" / "run", "vllm", match)

    symlink_to = Path.symlink_to

    def link_and_be_killed(*arguments: Any, **options: Any) -> None:
        symlink_to(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "symlink_to", link_and_be_killed)
    with pytest.raises(KeyboardInterrupt):
        publish_report(tmp_path / "runs" / "run")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_latest_that_cannot_be_linked_costs_a_warning(
    tmp_path: Path, match: Verdict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "symlink_to", fail)  # as in a folder that only others may write
    write_shard(tmp_path / "run", "vllm", match)
    assert publish_report(tmp_path / "run").passes
    assert (tmp_path / "run" / "index.html").is_file()
    latest = tmp_path / "latest"
    assert capsys.readouterr().err == f"warning: {latest} is not linked to this run: Permission denied\n"


def test_a_folder_in_place_of_latest_is_left_alone(tmp_path: Path, match: Verdict) -> None:
    (tmp_path / "latest").mkdir()
    write_shard(tmp_path / "run", "vllm", match)
    assert publish_report(tmp_path / "run").passes
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_run_named_latest_is_not_linked_to_itself(
    tmp_path: Path, match: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "latest", "vllm", match)
    assert publish_report(tmp_path / "latest").passes
    assert (tmp_path / "latest" / "index.html").is_file()
    assert capsys.readouterr().err == ""


def test_a_run_is_published_again_with_what_came_since(tmp_path: Path, match: Verdict) -> None:
    write_shard(tmp_path / "run", "vllm", match)
    publish_report(tmp_path / "run")
    write_shard(tmp_path / "run", "lmdeploy", match.model_copy(update={"backend": "lmdeploy"}))
    assert len(publish_report(tmp_path / "run").verdicts) == 2


@pytest.mark.parametrize("move", [False, True])
def test_parts_of_several_runs_come_together(
    tmp_path: Path, match: Verdict, mismatch: Verdict, move: bool
) -> None:
    write_shard(tmp_path / "one", "vllm", match)
    write_shard(tmp_path / "two", "lmdeploy", mismatch)
    assert merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "out", move=move, required=[]) == []
    assert shards(tmp_path / "out") == ["lmdeploy", "vllm"]
    assert len(load_run(tmp_path / "out").verdicts) == 2
    assert shards(tmp_path / "one") == ([] if move else ["vllm"])


def test_a_part_whose_name_is_taken_gets_a_number(tmp_path: Path, match: Verdict) -> None:
    runs = [tmp_path / name for name in ("one", "two", "three")]
    for run in runs:
        write_shard(run, "vllm", match)
    merge_runs(runs, tmp_path / "out", move=False, required=[])
    assert shards(tmp_path / "out") == ["vllm", "vllm-2", "vllm-3"]


def test_expected_parts_that_no_run_has_are_returned(tmp_path: Path, match: Verdict) -> None:
    write_shard(tmp_path / "one", "vllm", match)
    missing = merge_runs([tmp_path / "one"], tmp_path / "out", move=False, required=["vllm", "b", "a"])
    assert missing == ["a", "b"]


def test_merging_a_run_into_itself_doubles_nothing(tmp_path: Path, match: Verdict) -> None:
    write_shard(tmp_path / "one", "vllm", match)
    assert merge_runs([tmp_path / "one"], tmp_path / "one", move=False, required=["vllm"]) == []
    assert shards(tmp_path / "one") == ["vllm"]


def test_other_known_issues_is_applied_to_what_was_compared(tmp_path: Path, mismatch: Verdict) -> None:
    write_shard(tmp_path / "run", "vllm", mismatch)
    entry = KnownIssue.model_validate(
        {
            "name": "other",
            "backend": "vllm",
            "case": "*",
            "stage": "prompt",
            "upstream": "none",
            "expires": date(9999, 1, 1),
            "note": "Another prompt.",
        }
    )
    for known_issues, kind in (((entry,), VerdictKind.KNOWN), ((), VerdictKind.MISMATCH)):
        apply_known_issues_to_run(tmp_path / "run", known_issues)
        (found,) = load_run(tmp_path / "run").verdicts
        assert found.verdict.kind is kind
    assert found.verdict == mismatch
