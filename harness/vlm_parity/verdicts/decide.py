"""The verdict on one case."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from vlm_parity.diagnosis.registry import RuleInput, explain_diff
from vlm_parity.diff.compare import compare_stages
from vlm_parity.diff.pair import TracePair, build_not_compared
from vlm_parity.schema.data_flow import find_consequences
from vlm_parity.schema.noise_floor import read_noise_floor
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.schema.verdict import (
    LEADING_POSITIONS,
    Diagnosis,
    DiffStatus,
    StageDiff,
    Verdict,
    VerdictKind,
)
from vlm_parity.util.error_origin import describe_harness_error
from vlm_parity.util.errors import RecordError
from vlm_parity.verdicts.conditioned import add_pass
from vlm_parity.verdicts.harness_errors import (
    build_harness_error_verdict,
    describe_failure,
    find_capture_failure,
    mark_harness_error,
)
from vlm_parity.verdicts.reference_checks import find_reference_problem
from vlm_parity.verdicts.trace_checks import find_trace_problem


def decide_verdict(
    reference: Trace,
    tested: Trace,
    reference_folder: Path,
    tested_folder: Path,
    reproduce: str,
    default: Verdict | None = None,
) -> Verdict:
    """Compare two traces of the same case and decide the verdict.

    Args:
        reference: the trace of transformers.
        tested: the trace of the backend under test.
        reference_folder: holds the arrays and the noise floor of the reference.
        tested_folder: holds the arrays of the tested trace.
        reproduce: the command that reproduces the verdict.
        default: the verdict on the same case in the default mode through the chat path, if this is a
            different setup and that verdict is known.

    Returns:
        The verdict; ``harness_error`` if the comparison itself fails, so that no other case is lost with it.
    """
    try:
        return _decide(reference, tested, reference_folder, tested_folder, reproduce, default)
    except Exception as error:
        traceback.print_exc()
        return build_harness_error_verdict(reference, tested, reproduce, "comparing the traces", error)


def _decide(
    reference: Trace,
    tested: Trace,
    reference_folder: Path,
    tested_folder: Path,
    reproduce: str,
    default: Verdict | None,
) -> Verdict:
    diagnoses: tuple[Diagnosis, ...] = ()
    try:
        floor = read_noise_floor(reference_folder, tested.environment.dtype)
        with open_arrays(reference_folder) as left, open_arrays(tested_folder) as right:
            pair = TracePair(reference, tested, left, right, floor)
            _check_complete(pair)
            stages = mark_consequences(compare_stages(pair))
            kind, reason = _select_kind(pair, stages)
            first = next((diff for diff in stages if diff.status is DiffStatus.MISMATCH), None)
            differences = [diff for diff in stages if diff.independent is not None]
            try:
                diagnoses = tuple(
                    diagnosis
                    for diff in differences
                    for diagnosis in explain_diff(RuleInput(_restrict(pair, diff), diff, stages, default))
                )
            except RecordError:
                raise
            except Exception as error:  # the comparison itself is kept
                traceback.print_exc()
                description = describe_harness_error(error)
                kind = VerdictKind.HARNESS_ERROR
                reason = describe_failure("explaining the mismatch", description)
    except RecordError as error:
        kind, reason, first, diagnoses = VerdictKind.INVALID, str(error), None, ()
        stages = tuple(build_not_compared(stage, "a trace is damaged or incomplete") for stage in Stage)
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


def decide_conditioned(
    verdict: Verdict,
    conditioned: Trace,
    reference_folder: Path,
    conditioned_folder: Path,
    default: Verdict | None = None,
) -> Verdict:
    """Add the comparison of a pass on values of the reference to a verdict.

    Args:
        verdict: on the passes until now, without known issues.
        conditioned: the trace of the backend, which names what it was given.
        reference_folder: as for ``decide_verdict``.
        conditioned_folder: holds the arrays of the conditioned trace.
        default: as for ``decide_verdict``.

    Returns:
        The verdict; ``error`` if the engine failed in that pass, ``harness_error`` if the harness did. Stages
        stay not compared only if the engine cannot be given the values.
    """
    assert conditioned.condition is not None
    failure = find_capture_failure(verdict.reference, conditioned)
    if failure:
        given = conditioned.condition.description
        return verdict.model_copy(
            update={"kind": VerdictKind.HARNESS_ERROR, "reason": f"on {given}: {failure}"}
        )
    try:
        return _decide_conditioned(verdict, conditioned, reference_folder, conditioned_folder, default)
    except Exception as error:
        traceback.print_exc()
        return mark_harness_error(verdict, "comparing on given values", error)


def _decide_conditioned(
    verdict: Verdict,
    conditioned: Trace,
    reference_folder: Path,
    conditioned_folder: Path,
    default: Verdict | None,
) -> Verdict:
    condition = conditioned.condition
    assert condition is not None
    if conditioned.outcome is Outcome.UNSUPPORTED:
        reason = f"{conditioned.backend}: {conditioned.message}"
        return add_pass(verdict, condition, [build_not_compared(stage, reason) for stage in Stage])
    if conditioned.outcome is not Outcome.CAPTURED:  # the engine fails on valid values
        kind = VerdictKind.INVALID if conditioned.outcome is Outcome.INVALID else VerdictKind.ERROR
        reason = f"on {condition.description}: {conditioned.outcome}: {conditioned.message}"
        return verdict.model_copy(update={"kind": kind, "reason": reason})
    floor = read_noise_floor(reference_folder, conditioned.environment.dtype)
    with open_arrays(reference_folder) as left, open_arrays(conditioned_folder) as right:
        pair = TracePair(verdict.reference, conditioned, left, right, floor)
        _check_complete(pair)
        diffs = tuple(compare_stages(pair))
        judged = add_pass(verdict, condition, diffs)
        found = [diff for diff in judged.differences if diff.condition is condition]
        diagnoses = [each for diff in found for each in explain_diff(RuleInput(pair, diff, diffs, default))]
    order = list(Stage)
    lines = [
        verdict.reason,
        *(f"on {condition.description}: {diff.message.partition(chr(10))[0]}" for diff in found),
    ]
    return judged.model_copy(
        update={
            "diagnoses": tuple(
                sorted((*verdict.diagnoses, *diagnoses), key=lambda each: order.index(each.stage))
            ),
            "reason": "\n".join(lines),
        }
    )


def _restrict(pair: TracePair, diff: StageDiff) -> TracePair:
    """Return the pair with the positions that were compared."""
    return pair.keep_rows(diff.stage, int(diff.metrics[LEADING_POSITIONS])) if diff.is_partial else pair


def _check_complete(pair: TracePair) -> None:
    """Check that two captured traces hold all that a comparison reads.

    Raises:
        RecordError: something is missing; the message names it.
    """
    reference, tested = pair.reference, pair.tested
    if not (reference.outcome is tested.outcome is Outcome.CAPTURED):
        return
    for side, trace, arrays in (
        ("the reference", reference, pair.reference_tensors),
        (tested.backend, tested, pair.tested_tensors),
    ):
        problem = find_trace_problem(side, trace, arrays, tested.depth)
        if problem:
            raise RecordError(problem)


def mark_consequences(stages: Iterable[StageDiff]) -> tuple[StageDiff, ...]:
    """Mark the mismatches that may follow from an earlier one.

    One up to an earlier difference cannot.
    """
    diffs = tuple(stages)
    consequences = find_consequences({diff.stage: diff.outflow for diff in diffs})
    return tuple(
        diff.model_copy(update={"consequence": diff.stage in consequences and not diff.is_relative})
        for diff in diffs
    )


def _select_kind(pair: TracePair, stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    reference, tested = pair.reference, pair.tested
    outcomes = reference.outcome, tested.outcome
    failure = find_capture_failure(reference, tested)
    if failure:
        return VerdictKind.HARNESS_ERROR, failure
    if outcomes == (Outcome.REFUSED, Outcome.REFUSED):
        messages = f"{reference.backend}: {reference.message}\n{tested.backend}: {tested.message}"
        return VerdictKind.REFUSED, f"both refuse it\n{messages}"
    if outcomes == (Outcome.REFUSED, Outcome.CAPTURED):
        reason = f"{reference.backend} refuses it, {tested.backend} accepts it: {reference.message}"
        return VerdictKind.MISMATCH, reason
    if tested.outcome is Outcome.REFUSED:
        return VerdictKind.ERROR, tested.message
    differs = any(diff.status is DiffStatus.MISMATCH for diff in stages)
    if tested.outcome is Outcome.UNSUPPORTED and differs:  # it processed the case up to a point
        return _select_kind_by_diffs(stages)
    if tested.outcome is not Outcome.CAPTURED:
        return VerdictKind(tested.outcome.value), tested.message
    if reference.outcome is not Outcome.CAPTURED:
        return (
            VerdictKind.INVALID,
            f"the reference was not captured: {reference.outcome}: {reference.message}",
        )
    problem = find_reference_problem(pair, stages)
    if problem:
        return VerdictKind.INVALID, f"the reference is not valid: {problem}"
    return _select_kind_by_diffs(stages)


def _select_kind_by_diffs(stages: tuple[StageDiff, ...]) -> tuple[VerdictKind, str]:
    mismatches = [diff for diff in stages if diff.status is DiffStatus.MISMATCH]
    if mismatches:
        return VerdictKind.MISMATCH, mismatches[0].message.partition("\n")[0]
    if all(diff.status is DiffStatus.NOT_COMPARED for diff in stages):
        return VerdictKind.ERROR, "nothing was compared: " + "; ".join(diff.message for diff in stages)
    return VerdictKind.MATCH, ""
