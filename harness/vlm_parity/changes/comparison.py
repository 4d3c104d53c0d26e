"""Comparisons of a run: their identity from run to run, and the part of a verdict that is compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vlm_parity.schema.engine_setup import Depth, EntryPoint
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import StageDiff, Verdict, VerdictKind

REFUSAL = "refusal"
"""Replaces the stage of a difference if the reference refuses a case that the engine accepts."""
LIMIT_RATIO = "limit_ratio"
_AGREEING = {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.FIXED}


class State(StrEnum):
    """Result of a comparison, known issues aside."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, order=True)
class Identity:
    """The fields that are equal if two verdicts of different runs belong to the same comparison.

    Records hold no digest of the checkpoint, so a model is identified by its name.
    """

    model: str
    backend: str
    mode: str
    entry_point: EntryPoint
    case: str
    dtype: str
    device: str
    depth: Depth
    case_digest: str

    @classmethod
    def of(cls, verdict: Verdict) -> Identity:
        """Return the identity of a verdict."""
        environment = verdict.tested.environment
        return cls(
            model=verdict.model,
            backend=verdict.backend,
            mode=verdict.mode,
            entry_point=verdict.entry_point,
            case=verdict.case,
            dtype=environment.dtype,
            device=environment.device,
            depth=verdict.depth,
            case_digest=verdict.tested.case_digest,
        )


def get_state(verdict: Verdict) -> State:
    """Return the result of a comparison; a known failure of the engine is no comparison."""
    if verdict.kind in _AGREEING:
        return State.AGREES
    if verdict.kind is VerdictKind.MISMATCH:
        return State.DIFFERS
    if verdict.kind is VerdictKind.KNOWN:
        is_refusal = verdict.reference.outcome is Outcome.REFUSED
        return State.DIFFERS if verdict.differences or is_refusal else State.NOT_COMPARED
    return State.NOT_COMPARED


def is_failing(verdict: Verdict) -> bool:
    """Return whether a verdict fails for another reason than a fixed known issue."""
    return not verdict.kind.passes and verdict.kind is not VerdictKind.FIXED


def list_judged_stages(verdict: Verdict) -> tuple[Stage, ...]:
    """Return the stages with a result of their own, in order.

    A mismatch that may follow from an earlier one has none, unless the stage was compared on given values.
    """
    judged = {
        diff.stage
        for diff in verdict.stages
        if diff.differs is False or diff.independent is not None or diff.is_compared_on_given
    }
    return tuple(stage for stage in Stage if stage in judged)


def get_differences(verdict: Verdict) -> dict[str, StageDiff | None]:
    """Return the independent differences by stage; a refusal has no diff."""
    if get_state(verdict) is not State.DIFFERS:
        return {}
    return {str(diff.stage): diff for diff in verdict.differences} or {REFUSAL: None}


def get_cause(verdict: Verdict, stage: str) -> str:
    """Return the most likely cause of the difference at a stage; empty if no rule explains it."""
    return next((each.cause for each in verdict.diagnoses if each.stage == stage), "")


def get_size(diff: StageDiff | None) -> float | None:
    """Return the distance of a diff as a fraction of its limit, NaN as infinity; None for an exact stage."""
    if diff is None or LIMIT_RATIO not in diff.metrics:
        return None
    size = float(diff.metrics[LIMIT_RATIO])
    return math.inf if math.isnan(size) else size


def list_margins(verdict: Verdict) -> Iterator[tuple[Stage, float]]:
    """Yield the stages that match within a limit, each with its distance as a fraction of the limit."""
    for diff in verdict.stages:
        judged = diff.conditioned if diff.conditioned is not None and diff.is_compared_on_given else diff
        size = get_size(judged)
        if judged.differs is False and size is not None:
            yield diff.stage, size


def format_title(verdict: Verdict) -> str:
    """Format the comparison: the case, the model, and the backend with mode and entry point."""
    return f"{verdict.case} · {verdict.model} · {verdict.label}"
