"""``parity locate``: selection of verdicts, and the comparison that it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace, write_shard
from vlm_parity.cli import locate
from vlm_parity.cli.main import main
from vlm_parity.schema.location import Location
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE


@pytest.fixture
def verdict(trace_files: TraceFiles) -> Verdict:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": FEATURES * 1.02})
    return trace_files.decide_verdict()


@pytest.fixture
def run(tmp_path: Path, verdict: Verdict) -> Path:
    write_shard(tmp_path / "run", "vllm", verdict)
    return tmp_path / "run"


def run_locate(
    run: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int = FAILED, *options: str
) -> tuple[int, list[list[str]]]:
    """Run the command with a comparison that finds a verdict again; return its words, too."""
    words: list[list[str]] = []

    def compare(given: list[str]) -> int:
        words.append(given)
        write_shard(run.parent / "again", "locate-1", verdict)
        return code

    monkeypatch.setattr(locate, "run_comparison", compare)
    result = main(["locate", str(run), verdict.case, "--run", str(run.parent / "again"), *options])
    return result, words


def test_the_case_is_compared_again_with_its_modules(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    located = verdict.model_copy(update={"locations": (Location(agreeing=7, values=7),)})
    code, (words,) = run_locate(run, monkeypatch, located)
    assert code == PASSED
    assert words[:4] == [
        "--locate",
        f"--backend={verdict.backend}",
        f"--model={verdict.model}",
        f"--case={verdict.case}",
    ]
    assert "No module differs: 7 of 7 values agree" in capsys.readouterr().out


@pytest.mark.parametrize("locations", [(), (Location(problem="compiled"),)])
def test_modules_that_were_not_compared_fail(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, locations: tuple[Location, ...]
) -> None:
    found = verdict.model_copy(update={"locations": locations})
    assert run_locate(run, monkeypatch, found)[0] == FAILED


def test_a_comparison_that_did_not_run_has_its_own_exit_code(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_locate(run, monkeypatch, verdict, NOT_COMPARED)[0] == NOT_COMPARED


@pytest.mark.parametrize(
    "options", [("--backend", "lmdeploy"), ("--model", "other"), ("--mode", "batched")], ids=lambda o: o[0]
)
def test_nothing_to_locate_is_a_usage_error(
    run: Path, verdict: Verdict, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", str(run), verdict.case, *options]) == USAGE
    assert "differs at vision, prefill or decode" in capsys.readouterr().err


def test_a_name_from_a_record_is_no_option(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = verdict.model_copy(update={"model": "--engine-arg=x"})
    write_shard(run, "hostile", hostile)
    words_of: list[list[str]] = []

    def compare(words: list[str]) -> int:
        words_of.append(words)
        return FAILED

    monkeypatch.setattr(locate, "run_comparison", compare)
    main(["locate", str(run), verdict.case, "--run", str(run)])
    assert ["--model=--engine-arg=x" in words for words in words_of].count(True) == 1
    assert not any("--engine-arg=x" in words for words in words_of)
