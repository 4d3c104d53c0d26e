"""Transformers against itself: comparison of the references of two environments on one case.

This distinguishes a change of transformers from a fault of an engine. It never affects whether a run passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vlm_parity.drift.stages import (
    STAGE_COMPARISONS,
    DriftStatus,
    ReferencePair,
    StageDrift,
    build_drift,
    build_not_compared,
)
from vlm_parity.schema.array_sketch import Sketch, read_sketch
from vlm_parity.schema.data_flow import find_consequences
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.util.errors import SketchError

_NEEDS_EQUAL_IDS = {Stage.POSITIONS, Stage.VISION, Stage.PREFILL, Stage.DECODE}


@dataclass(frozen=True)
class ReferenceTrace:
    """A reference trace, as far as it is stored."""

    trace: Trace
    folder: Path | None
    """The folder of its sketch, if it has one."""


def compare_reference_traces(left: ReferenceTrace, right: ReferenceTrace) -> tuple[StageDrift, ...]:
    """Compare two references at every stage, in order."""
    reason = _skip_reason(left.trace, right.trace)
    if reason:
        return tuple(build_not_compared(stage, reason) for stage in Stage)
    try:
        sketches = (read_sketch(side.folder) if side.folder else Sketch({}, {}) for side in (left, right))
        sides = ReferencePair(left.trace, right.trace, *sketches)
    except SketchError as error:
        return tuple(build_not_compared(stage, str(error)) for stage in Stage)
    return tuple(_mark_consequences(_compare_stage(stage, sides) for stage in Stage))


def _skip_reason(left: Trace, right: Trace) -> str:
    if left.case_digest != right.case_digest:
        return "different cases of the same name"
    if Outcome.HARNESS_ERROR in {left.outcome, right.outcome}:
        return "the harness failed while capturing one of them"
    if left.outcome is right.outcome is not Outcome.CAPTURED:
        return f"both: {left.outcome}"
    return ""


def _mark_consequences(stages: Iterable[StageDrift]) -> Iterator[StageDrift]:
    compared = tuple(stages)
    consequences = find_consequences(
        {
            each.stage: None if each.status is DriftStatus.NOT_COMPARED else each.status is DriftStatus.DRIFT
            for each in compared
        }
    )
    for each in compared:
        yield replace(each, consequence=each.stage in consequences)


def _compare_stage(stage: Stage, sides: ReferencePair) -> StageDrift:
    left, right = sides.left, sides.right
    if left.outcome is not right.outcome:
        message = "; ".join(_format_outcome(trace) for trace in (left, right))
        return build_drift(stage, message) if stage is Stage.PROMPT else build_not_compared(stage, message)
    if stage in _NEEDS_EQUAL_IDS and left.input_ids != right.input_ids:
        return build_not_compared(stage, "the ids differ, so the positions have no counterpart")
    return STAGE_COMPARISONS[stage](sides)


def _format_outcome(trace: Trace) -> str:
    version = trace.environment.packages.get("transformers", "")
    return f"{trace.backend} {version}: {trace.outcome}{': ' if trace.message else ''}{trace.message}"
