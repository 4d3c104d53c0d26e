"""What the diffs of one case amount to: one verdict."""

from __future__ import annotations

from pathlib import Path

from harness.diff.compare import compare
from harness.trace import Outcome, Trace
from harness.verdict import StageDiff, Status, Verdict, VerdictKind


def judge(
    reference: Trace, tested: Trace, reference_folder: Path, tested_folder: Path, reproduce: str
) -> Verdict:
    """Compares two traces of the same case and says what follows.

    The folders hold the traces' arrays; ``reproduce`` is the command that makes the verdict again.
    """
    stages = _mark_consequences(compare(reference, tested, reference_folder, tested_folder))
    kind, reason = _kind(reference, tested, stages)
    first = next((diff.stage for diff in stages if diff.status is Status.MISMATCH), None)
    return Verdict(
        case=tested.case,
        model=tested.model,
        backend=tested.backend,
        depth=tested.depth,
        kind=kind,
        reason=reason,
        first_divergence=first,
        stages=stages,
        reference=reference,
        tested=tested,
        reproduce=reproduce,
    )


def _mark_consequences(stages: tuple[StageDiff, ...]) -> tuple[StageDiff, ...]:
    """What differs after the first difference follows from it."""
    marked, diverged = [], False
    for diff in stages:
        differs = diff.status is Status.MISMATCH
        marked.append(diff.model_copy(update={"consequence": differs and diverged}))
        diverged = diverged or differs
    return tuple(marked)


def _kind(reference: Trace, tested: Trace, stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    outcomes = reference.outcome, tested.outcome
    if outcomes == (Outcome.REFUSED, Outcome.REFUSED):
        words = f"{reference.backend}: {reference.message}\n{tested.backend}: {tested.message}"
        return VerdictKind.REFUSED, f"both refuse it\n{words}"
    if outcomes == (Outcome.REFUSED, Outcome.CAPTURED):
        words = f"{reference.backend} refuses it, {tested.backend} serves it: {reference.message}"
        return VerdictKind.MISMATCH, words
    if tested.outcome is Outcome.REFUSED:
        return VerdictKind.ERROR, tested.message
    if tested.outcome is not Outcome.CAPTURED:
        return VerdictKind(tested.outcome.value), tested.message
    if reference.outcome is not Outcome.CAPTURED:
        return VerdictKind.INVALID, f"the reference has no answer: {reference.outcome}: {reference.message}"
    illness = _illness(reference, stages)
    if illness:
        return VerdictKind.INVALID, f"the reference is not to be trusted: {illness}"
    return _from_stages(stages)


def _from_stages(stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    mismatches = [diff for diff in stages if diff.status is Status.MISMATCH]
    if mismatches:
        return VerdictKind.MISMATCH, mismatches[0].message.partition("\n")[0]
    if all(diff.status is Status.NOT_COMPARED for diff in stages):
        return VerdictKind.ERROR, "nothing was compared: " + "; ".join(diff.message for diff in stages)
    return VerdictKind.MATCH, ""


def _illness(reference: Trace, stages: tuple[StageDiff, ...]) -> str | None:
    """Why the reference's logits cannot be a measure; None where they can."""
    for diff in stages:
        count = diff.metrics.get("reference_not_finite", 0)
        if count:
            return f"what it gives at {diff.stage} is not a number at {count} positions"
        vocabulary = diff.metrics.get("vocabulary")
        largest = max(reference.input_ids or (0,))
        if vocabulary is not None and largest >= vocabulary:
            return f"its input id {largest} is outside the vocabulary of {vocabulary}"
    return None
