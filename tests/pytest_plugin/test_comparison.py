"""The result of a test for each verdict: passed, failed, skipped or expected, with its message."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.support.traces import NOTHING, TraceFiles, make_failed_trace, make_trace
from vlm_parity.pytest_plugin.comparison import Comparison
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict
from vlm_parity.util.errors import MissingTraceError
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues


def outcome(trace_files: TraceFiles, stage: str, **tested: Any) -> str:
    trace_files.write(trace_files.tested, make_trace(**tested))
    return get_result(trace_files, stage)


def get_result(trace_files: TraceFiles, stage: str, *known: KnownIssue) -> str:
    """Return ``passed``, or ``failed: ...``, ``expected: ...`` or ``skipped: ...`` with the message."""
    try:
        Comparison(lambda: apply_known_issues(trace_files.decide_verdict(), known, date.min)).check(stage)
    except pytest.xfail.Exception as expected:  # a kind of failure
        return f"expected: {expected.msg}"
    except pytest.fail.Exception as failure:
        return f"failed: {failure.msg}"
    except pytest.skip.Exception as skip:
        return f"skipped: {skip.msg}"
    return "passed"


def test_a_match_passes(trace_files: TraceFiles) -> None:
    assert outcome(trace_files, "prompt") == "passed"


def test_mismatch_fails_with_evidence_and_command(trace_files: TraceFiles) -> None:
    assert outcome(trace_files, "prompt", prompt="other").splitlines() == [
        "failed: one_image: qwen2_vl in vllm against transformers",
        "prompts differ at character 0",
        "     side  context",
        "reference  '<user>Look: <image>What is it?<assistant>'",
        "     vllm  'other'",
        "reproduce: pytest cases --case one_image",
    ]


def test_unknown_stage_fails_with_a_suggestion_before_anything_is_compared() -> None:
    comparison = Comparison(lambda: pytest.fail("compared"))
    with pytest.raises(pytest.fail.Exception, match="imput_ids: no such stage; did you mean inp"):
        comparison.check("imput_ids")


def test_consequence_is_marked(trace_files: TraceFiles) -> None:
    text = outcome(trace_files, "greedy", prompt="other", input_ids=(1,), greedy=(1,))
    assert "\n(a consequence: prompt differs already)\nreproduce: " in text


def test_stage_that_was_not_compared_is_skipped_with_reason(trace_files: TraceFiles) -> None:
    unsupported = {Stage.SPANS: "no family is registered"}
    assert outcome(trace_files, "spans", spans=None, not_captured=unsupported) == (
        "skipped: not compared: vllm: no family is registered"
    )
    assert outcome(trace_files, "prefill", input_ids=(1,)) == (
        "skipped: mismatch: the ids differ, so the positions have no counterpart"
    )


def test_stage_that_is_missing_without_a_reason_fails(trace_files: TraceFiles) -> None:
    assert "\ninvalid: the trace of vllm lacks spans and states no reason" in outcome(
        trace_files, "spans", spans=None
    )


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        ("unsupported", "skipped: unsupported: no videos"),
        ("refused", "failed: one_image: qwen2_vl in vllm against transformers\nerror: no videos\n"),
        ("error", "failed: one_image: qwen2_vl in vllm against transformers\nerror: no videos\n"),
        ("crash", "failed: one_image: qwen2_vl in vllm against transformers\ncrash: no videos\n"),
    ],
)
@pytest.mark.parametrize("stage", ["prompt", "greedy"])
def test_a_backend_without_an_answer(trace_files: TraceFiles, stage: str, tested: str, expected: str) -> None:
    trace_files.write(trace_files.tested, make_failed_trace(Outcome(tested), message="no videos"))
    assert get_result(trace_files, stage).startswith(expected)


def test_agreement_in_refusing_is_skipped(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers"))
    trace_files.write(trace_files.tested, make_failed_trace(Outcome.REFUSED))
    assert get_result(trace_files, "prompt").startswith("skipped: refused: ")


def test_serving_what_the_reference_refuses_fails(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers", "no such image")
    )
    text = get_result(trace_files, "prompt")
    assert "\nmismatch: transformers refuses it, vllm accepts it: no such image\n" in text


def at(stage: str) -> KnownIssue:
    """Return a known issue."""
    return KnownIssue(
        name="e", backend="vllm", case=("*",), stage=stage, upstream="u", expires=date.max, note="Why."
    )


def test_known_issue_is_expected_to_fail(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(prompt="other", input_ids=(1,), greedy=(1,)))
    words = "expected: e: Why. Upstream: u. Known until 9999-12-31."
    assert (
        get_result(trace_files, "prompt", at("prompt"))
        == get_result(trace_files, "greedy", at("prompt"))
        == words
    )
    assert get_result(trace_files, "spans", at("prompt")) == "passed"
    assert get_result(trace_files, "prompt", at("greedy")).startswith("failed: ")


def test_fixed_issue_fails(trace_files: TraceFiles) -> None:
    assert "\nfixed: no mismatch at prompt, " in get_result(trace_files, "spans", at("prompt"))


def test_serving_what_the_reference_refuses_can_be_known(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers"))
    assert get_result(trace_files, "greedy", at("refusal")).startswith("expected: e: Why.")


def test_an_invalid_reference_fails_even_where_the_two_agree(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.reference, make_trace("transformers", outcome=Outcome.ERROR, message="out of memory")
    )
    text = get_result(trace_files, "prompt")
    assert "\ninvalid: the reference was not captured: error: out of memory\n" in text


@pytest.mark.parametrize("stage", ["prompt", "greedy"])
def test_failure_of_harness_fails_even_where_the_two_agree(trace_files: TraceFiles, stage: str) -> None:
    trace_files.write(
        trace_files.tested, make_trace(outcome=Outcome.HARNESS_ERROR, message="KeyError: 'x'", greedy=None)
    )
    assert trace_files.decide_verdict().stage(Stage.PROMPT).status is DiffStatus.MATCH
    text = get_result(trace_files, stage)
    assert "\nharness_error: the harness failed while capturing vllm: KeyError: 'x'\n" in text


def test_nothing_compared_fails(trace_files: TraceFiles) -> None:
    assert outcome(trace_files, "prompt", **NOTHING).startswith("failed: ")


def test_what_ends_before_a_comparison_is_said_without_a_traceback() -> None:
    def verdict() -> Verdict:
        raise MissingTraceError("the run holds no traces")

    with pytest.raises(pytest.fail.Exception, match=r"^the run holds no traces$") as caught:
        Comparison(verdict).check(Stage.PROMPT)
    assert not caught.value.pytrace


def test_a_full_disk_is_said_without_a_traceback() -> None:
    def fail() -> Verdict:
        raise OSError(28, "No space left on device", "run/shard.json")

    with pytest.raises(pytest.fail.Exception, match=r"not compared: .*No space left on device.*shard\.json"):
        Comparison(fail).check("prompt")
