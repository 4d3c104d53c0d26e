"""What the diffs of one case amount to: one verdict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vlm_parity.diagnosis.registry import RuleInput, explain_diff
from vlm_parity.diff.compare import compare_stages
from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import Outcome, Trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.verdicts.reference_checks import reference_problem


def decide_verdict(
    reference: Trace,
    tested: Trace,
    reference_folder: Path,
    tested_folder: Path,
    reproduce: str,
    default: Verdict | None = None,
) -> Verdict:
    """Compares two traces of the same case and says what follows.

    The folders hold the traces' arrays; ``reproduce`` is the command that makes the verdict again;
    ``default`` is the verdict on the same case in the default mode through the chat path, if this one is another
    setup and it is known.
    """
    floor = read_noise_floor(reference_folder, tested.environment.dtype)
    with open_arrays(reference_folder) as left, open_arrays(tested_folder) as right:
        pair = TracePair(reference, tested, left, right, floor)
        stages = _mark_consequences(compare_stages(pair))
        kind, reason = _select_kind(pair, stages)
        first = next((diff for diff in stages if diff.status is DiffStatus.MISMATCH), None)
        diagnoses = explain_diff(RuleInput(pair, first, stages, default)) if first else ()
    return Verdict(
        case=tested.case,
        model=tested.model,
        backend=tested.backend,
        mode=tested.mode,
        entry_point=tested.entry_point,
        depth=tested.depth,
        kind=kind,
        reason=reason,
        first_divergence=first.stage if first else None,
        diagnoses=diagnoses,
        stages=stages,
        reference=reference,
        tested=tested,
        reproduce=reproduce,
    )


def _mark_consequences(stages: Iterable[StageDiff]) -> tuple[StageDiff, ...]:
    """What differs after the first difference follows from it."""
    marked, diverged = [], False
    for diff in stages:
        differs = diff.status is DiffStatus.MISMATCH
        marked.append(diff.model_copy(update={"consequence": differs and diverged}))
        diverged = diverged or differs
    return tuple(marked)


def _select_kind(pair: TracePair, stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    reference, tested = pair.reference, pair.tested
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
    illness = reference_problem(pair, stages)
    if illness:
        return VerdictKind.INVALID, f"the reference is not to be trusted: {illness}"
    return _build_verdict(stages)


def _build_verdict(stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    mismatches = [diff for diff in stages if diff.status is DiffStatus.MISMATCH]
    if mismatches:
        return VerdictKind.MISMATCH, mismatches[0].message.partition("\n")[0]
    if all(diff.status is DiffStatus.NOT_COMPARED for diff in stages):
        return VerdictKind.ERROR, "nothing was compared: " + "; ".join(diff.message for diff in stages)
    return VerdictKind.MATCH, ""
