"""Verdicts on cases at which the harness itself failed."""

from __future__ import annotations

from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind
from vlm_parity.util.error_origin import describe_harness_error


def build_harness_error_verdict(
    reference: Trace, tested: Trace, reproduce: str, action: str, error: Exception
) -> Verdict:
    """Build the verdict on a case that could not be compared because the harness raised an error.

    Args:
        reference: the trace of transformers.
        tested: the trace of the backend under test.
        reproduce: the command that reproduces the verdict.
        action: the failed step, as in ``describe_failure``.
        error: the exception.
    """
    message = f"not compared: the harness failed while {action}"
    return Verdict(
        case=tested.case,
        model=tested.model,
        backend=tested.backend,
        mode=tested.mode,
        entry_point=tested.entry_point,
        depth=tested.depth,
        kind=VerdictKind.HARNESS_ERROR,
        reason=describe_failure(action, describe_harness_error(error)),
        stages=tuple(
            StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message=message) for stage in Stage
        ),
        reference=reference,
        tested=tested,
        reproduce=reproduce,
    )


def mark_harness_error(verdict: Verdict, action: str, error: Exception) -> Verdict:
    """Turn a verdict into ``harness_error``, because a step after the comparison raised; its diffs remain.

    Args:
        verdict: as decided.
        action: the failed step, as in ``describe_failure``.
        error: the exception.
    """
    reason = describe_failure(action, describe_harness_error(error))
    return verdict.model_copy(update={"kind": VerdictKind.HARNESS_ERROR, "reason": reason, "known": ""})


def describe_failure(action: str, description: str) -> str:
    """Return the reason of a verdict ``harness_error``.

    Args:
        action: the failed step, as after "while": ``comparing the traces``.
        description: of the exception, with the last frames of its traceback.
    """
    return f"the harness failed while {action}: {description}"


def find_capture_failure(reference: Trace, tested: Trace) -> str | None:
    """Return the reason if the harness failed while it captured one of the traces; None if it did not."""
    for trace in (reference, tested):
        if trace.outcome is Outcome.HARNESS_ERROR:
            return describe_failure(f"capturing {trace.backend}", trace.message)
    return None
