"""Repeated passes over a case that differs: digests of a stage, and the comparison of one more pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, FEATURES, PREFILL, TraceFiles, make_failed_trace, make_trace
from vlm_parity.schema.repetition import Repetition
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.verdicts.repetitions import (
    add_repetition,
    compare_repetition,
    digest_stage,
    needs_repetition,
)

WRONG = {**ARRAYS, "prefill": PREFILL * 1.1}


def decide(files: TraceFiles, arrays: dict[str, np.ndarray]) -> tuple[Verdict, str]:
    """Return the verdict on a first pass, and the digest of its first stage that differs."""
    files.write(files.tested, make_trace(), arrays)
    verdict = files.decide_verdict()
    assert verdict.first_divergence is not None
    return verdict, digest_stage(verdict.tested, files.tested, verdict.first_divergence)


def repeat(files: TraceFiles, arrays: dict[str, np.ndarray], trace: Trace | None = None) -> Repetition:
    verdict, digest = decide(files, WRONG)
    repeated = trace or make_trace()
    files.write(files.tested, repeated, arrays)
    return compare_repetition(verdict, repeated, files.reference, files.tested, digest)


@pytest.mark.parametrize(
    ("arrays", "first", "is_identical"),
    [
        (WRONG, Stage.PREFILL, True),
        ({**WRONG, "decode": ARRAYS["decode"] * 1.1}, Stage.PREFILL, True),
        ({**ARRAYS, "prefill": PREFILL * 1.2}, Stage.PREFILL, False),
        (ARRAYS, None, False),
        ({**WRONG, "vision": FEATURES + 1}, Stage.VISION, True),
    ],
    ids=["the same", "other steps behind it", "other bits", "agrees", "differs earlier"],
)
def test_pass_is_compared_with_the_reference_and_the_first_pass(
    trace_files: TraceFiles, arrays: dict[str, np.ndarray], first: Stage | None, *, is_identical: bool
) -> None:
    expected = Repetition(outcome=Outcome.CAPTURED, first_divergence=first, is_identical=is_identical)
    assert repeat(trace_files, arrays) == expected


def test_pass_that_fails_or_lacks_the_stage_is_not_compared(trace_files: TraceFiles) -> None:
    verdict, digest = decide(trace_files, WRONG)
    failed = make_failed_trace(Outcome.CRASH, message="signal 9\nits last lines")
    found = compare_repetition(verdict, failed, trace_files.reference, trace_files.tested, digest)
    assert found == Repetition(outcome=Outcome.CRASH, message="signal 9")
    lacking = make_trace(not_captured={Stage.PREFILL: "no outputs were requested"})
    found = compare_repetition(verdict, lacking, trace_files.reference, trace_files.tested, digest)
    assert found == Repetition(outcome=Outcome.INVALID, message="vllm: no outputs were requested")


def test_passes_end_with_their_number(trace_files: TraceFiles) -> None:
    verdict, _ = decide(trace_files, WRONG)
    same = Repetition(outcome=Outcome.CAPTURED, first_divergence=Stage.PREFILL, is_identical=True)
    assert needs_repetition(verdict, 2)
    assert not needs_repetition(verdict, 1)
    twice = add_repetition(verdict, same)
    assert (twice.kind, twice.reason) == (VerdictKind.MISMATCH, verdict.reason)
    assert not needs_repetition(twice, 2)
    unstable = add_repetition(verdict, Repetition(outcome=Outcome.CAPTURED))
    assert unstable.kind is VerdictKind.UNSTABLE
    assert needs_repetition(unstable, 3)


def test_match_needs_no_repetition(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(), ARRAYS)
    assert not needs_repetition(trace_files.decide_verdict(), 3)


def test_digest_of_a_stage_depends_on_its_content_only(trace_files: TraceFiles) -> None:
    trace = make_trace()
    digests = []
    for arrays in (ARRAYS, {**ARRAYS, "vision": FEATURES + 1}, WRONG):
        trace_files.write(trace_files.tested, trace, arrays)
        digests.append(digest_stage(trace, trace_files.tested, Stage.PREFILL))
    assert digests[0] == digests[1] != digests[2]
    other = make_trace(prompt="another")
    prompts = [digest_stage(each, trace_files.tested, Stage.PROMPT) for each in (trace, other)]
    assert prompts[0] != prompts[1]
