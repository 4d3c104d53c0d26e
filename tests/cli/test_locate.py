"""``parity locate``: selection of verdicts, and the comparison that it runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace, write_shard
from vlm_parity.cli import locate
from vlm_parity.cli.main import main
from vlm_parity.schema.location import Location, ModuleDifference
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


def test_arguments_of_the_engine_are_passed_on(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (words,) = run_locate(run, monkeypatch, verdict, FAILED, "--engine-arg", "a=b", "--engine-arg", "c=1")
    assert [word for word in words if word.startswith("--engine-arg")] == [
        "--engine-arg=a=b",
        "--engine-arg=c=1",
    ]


def test_a_checkpoint_has_to_be_named(
    run: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(run, "hub", verdict.model_copy(update={"model": "org--name"}))
    command = ["locate", str(run), verdict.case, "--model", "org--name", "--run", str(run.parent / "again")]
    assert main(command) == USAGE
    assert "org--name is no family: state its folder or hub id by --checkpoint" in capsys.readouterr().err
    seen: list[list[str]] = []
    monkeypatch.setattr(locate, "run_comparison", lambda words: seen.append(words) or FAILED)  # type: ignore[func-returns-value]
    main([*command, "--checkpoint", "org/name@main"])
    assert "--model=org/name@main" in seen[0]


def test_a_name_from_a_record_is_no_option_and_no_pattern(verdict: Verdict, tmp_path: Path) -> None:
    hostile = verdict.model_copy(update={"case": "*", "mode": "--engine-arg=x"})
    args = Namespace(checkpoint=None, cases=None, media_root=[], engine_arg=[], within=None)
    words = locate._build_words(args, hostile, tmp_path, "locate-1")
    assert "--case=[*]" in words
    assert "--mode=--engine-arg=x" in words


def test_the_modules_of_a_block_are_recorded_by_the_engines_name(
    tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    difference = ModuleDifference(
        module="model.layers.1", class_path="a.B", point="output", engine_module="lm.layers.1",
        distance=1, noise=0.1, limit_ratio=9,
    )  # fmt: skip
    blocks = Location(differences=(difference,), is_coarse=True)
    write_shard(tmp_path / "run", "vllm", verdict.model_copy(update={"locations": (blocks,)}))
    _, (words,) = run_locate(tmp_path / "run", monkeypatch, verdict, FAILED, "--within", "model.layers.1")
    assert "--locate-within=model.layers.1=lm.layers.1" in words
    command = ["locate", str(tmp_path / "run"), verdict.case, "--run", str(tmp_path / "x")]
    assert main([*command, "--within", "model.layers.2"]) == USAGE
    assert "names no such block" in capsys.readouterr().err
