"""Sessions that run a case again: after a failure of the machine, and to see whether a difference repeats."""

from __future__ import annotations

import pytest

from tests.support.plugin_sessions import RunPytest, count_loads, list_failures
from vlm_parity.capture import runner
from vlm_parity.capture.runner import CaptureTask
from vlm_parity.report.load_run import load_run
from vlm_parity.report.summary import list_remarks
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.schema.verdict import Verdict, VerdictKind

pytest_plugins = ["pytester"]

ENGINE_LOADS = "tiny-model-tiny_engine"


def read_verdict(pytester: pytest.Pytester, case: str = "two_images") -> Verdict:
    run = load_run(pytester.path / "run")
    assert not run.problems
    (found,) = (entry.verdict for entry in run.verdicts if entry.verdict.case == case)
    return found


def run_with(engine: RunPytest, order: str, *words: str) -> pytest.RunResult:
    return engine("--engine-arg", order, "--engine-arg", "marks=marks", *words)


@pytest.mark.parametrize(
    ("order", "outcome", "description"),
    [
        ("inputs two_images=die once", Outcome.CRASH, "crashed: the process was killed by SIGKILL"),
        (
            "outputs two_images=run out of memory once",
            Outcome.ERROR,
            "ran out of memory: MemoryError: 27 GiB wanted",
        ),
    ],
)
def test_failure_of_the_machine_is_run_again_and_compared(
    engine: RunPytest, pytester: pytest.Pytester, order: str, outcome: Outcome, description: str
) -> None:
    result = run_with(engine, order)
    assert result.ret == pytest.ExitCode.OK
    verdict = read_verdict(pytester)
    assert verdict.kind is VerdictKind.MATCH
    assert [attempt.outcome for attempt in verdict.attempts] == [outcome]
    assert verdict.passes_note.startswith(f"the first attempt {description}")
    assert verdict.passes_note.endswith("it was run again in a new process")
    result.stdout.fnmatch_lines(
        ["*two_images: *; to be run again", "*two_images, attempt 2: match", "Run again: two_images · *"]
    )
    assert count_loads(pytester)[ENGINE_LOADS] == 2


def test_deterministic_crash_stays_one(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = run_with(engine, "inputs one_video=die")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    verdict = read_verdict(pytester, "one_video")
    assert verdict.kind is VerdictKind.CRASH
    assert verdict.passes_note.startswith(
        "failed in 2 of 2 attempts, each in a new process; the first attempt"
    )
    assert read_verdict(pytester).kind is VerdictKind.MATCH
    assert count_loads(pytester)[ENGINE_LOADS] == 3  # the first, one for the rest, one for the second attempt


def test_load_that_crashes_is_tried_again(engine: RunPytest, pytester: pytest.Pytester) -> None:
    assert run_with(engine, "load=die once").ret == pytest.ExitCode.OK
    assert all(entry.verdict.attempts for entry in load_run(pytester.path / "run").verdicts)
    assert count_loads(pytester)[ENGINE_LOADS] == 2


def test_no_retry(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_with(engine, "inputs two_images=die once", "--no-retry")
    verdict = read_verdict(pytester)
    assert (verdict.kind, verdict.attempts) == (VerdictKind.CRASH, ())
    assert not list_remarks(load_run(pytester.path / "run"))


def test_error_of_the_engine_is_not_run_again(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_with(engine, "outputs two_images=raise")
    verdict = read_verdict(pytester)
    assert (verdict.kind, verdict.attempts) == (VerdictKind.ERROR, ())
    assert count_loads(pytester)[ENGINE_LOADS] == 1


@pytest.mark.parametrize("order", ["wrong logit two_images=yes", "wrong id two_images=yes"])
def test_difference_repeats_bit_for_bit(engine: RunPytest, pytester: pytest.Pytester, order: str) -> None:
    result = run_with(engine, order)
    verdict = read_verdict(pytester)
    assert (verdict.kind, verdict.passes_note) == (
        VerdictKind.MISMATCH,
        "repeats bit for bit in 3 of 3 passes",
    )
    result.stdout.fnmatch_lines(
        ["*two_images, pass 3: mismatch*", "*(repeats bit for bit in 3 of 3 passes)*"]
    )
    assert count_loads(pytester)[ENGINE_LOADS] == 1
    assert not list((pytester.path / "run").glob("shards/*/traces/*/*pass*/*"))


def test_difference_that_varies_differs_in_all_passes(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_with(engine, "noisy logit two_images=yes")
    verdict = read_verdict(pytester)
    assert verdict.kind is VerdictKind.MISMATCH
    assert verdict.passes_note == "differs in 3 of 3 passes, bit for bit equal in 1"


def test_difference_that_comes_and_goes_is_unstable(engine: RunPytest, pytester: pytest.Pytester) -> None:
    result = run_with(engine, "flickering logit two_images=yes")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert list_failures(result) == ["test_prefill[tiny-model-tiny_engine-two_images]"]
    verdict = read_verdict(pytester)
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.UNSTABLE, Stage.PREFILL)
    assert verdict.reason == "comes and goes: 2 of 3 differ first at prefill, 1 of 3 agree up to prefill"
    assert [each.first_divergence for each in verdict.repetitions] == [None, Stage.PREFILL]
    assert not load_run(pytester.path / "run").passes


def test_known_issue_does_not_cover_an_unstable_difference(
    engine: RunPytest, pytester: pytest.Pytester
) -> None:
    (pytester.path / "cases" / "known_issues.toml").write_text(
        '[[issue]]\nname = "logit"\nbackend = "tiny_engine"\ncase = "two_images"\nstage = "prefill"\n'
        'upstream = "none"\nexpires = 2999-01-01\nnote = "A logit."\n'
    )
    run_with(engine, "wrong logit two_images=yes", "--run", "run")
    assert read_verdict(pytester).kind is VerdictKind.KNOWN
    run_with(engine, "flickering logit two_images=yes", "--run", "other")
    (verdict, *_) = (entry.verdict for entry in load_run(pytester.path / "other").verdicts)
    assert (verdict.kind, verdict.known) == (VerdictKind.UNSTABLE, "")


def test_repeat_of_one_switches_it_off(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_with(engine, "flickering logit two_images=yes", "--repeat", "1")
    verdict = read_verdict(pytester)
    assert (verdict.kind, verdict.repetitions) == (VerdictKind.MISMATCH, ())


def test_crash_in_a_repeated_pass_keeps_the_verdict(engine: RunPytest, pytester: pytest.Pytester) -> None:
    run_with(engine, "wrong logit two_images=yes", "--engine-arg", "outputs two_images=die second")
    verdict = read_verdict(pytester)
    assert verdict.kind is VerdictKind.MISMATCH
    assert verdict.passes_note.startswith("2 more not compared: crash: the process was killed by SIGKILL")


def test_match_is_not_repeated(engine: RunPytest, pytester: pytest.Pytester) -> None:
    engine("--case", "two_images")
    (log,) = (pytester.path / "run").glob("shards/*/logs/tiny-model-tiny_engine.log")
    assert "pass" not in log.read_text()
    assert read_verdict(pytester).repetitions == ()


def test_a_failure_of_the_harness_in_a_repeated_pass_is_one_of_the_case(
    engine: RunPytest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known issue must not hide it: whether the difference repeats is unknown."""
    (pytester.path / "cases" / "known_issues.toml").write_text(
        '[[issue]]\nname = "logit"\nbackend = "tiny_engine"\ncase = "two_images"\nstage = "prefill"\n'
        'upstream = "none"\nexpires = 2999-01-01\nnote = "A logit."\n'
    )
    report = runner._Capture._report

    def fail(self: runner._Capture, task: CaptureTask, trace: Trace) -> None:
        if task.repetition:
            raise OSError(28, "No space left on device")
        report(self, task, trace)

    monkeypatch.setattr(runner._Capture, "_report", fail)
    assert run_with(engine, "wrong logit two_images=yes").ret == pytest.ExitCode.TESTS_FAILED
    verdict = read_verdict(pytester)
    assert verdict.kind is VerdictKind.HARNESS_ERROR
    assert "No space left on device" in verdict.reason
    assert not load_run(pytester.path / "run").passes
