"""Transformers against itself: where the references of two environments part ways on one case.

So a change of transformers is told apart from an engine's own mistake. It never counts toward passing.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from vlm_parity.schema.array_sketch import read_sketch
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.util.errors import SketchError

_NEEDS_EQUAL_IDS = {Stage.POSITIONS, Stage.VISION, Stage.PREFILL, Stage.DECODE}


@dataclass(frozen=True)
class ReferenceTrace:
    """What is kept of one reference's trace of a case."""

    trace: Trace
    folder: Path
    """Holds its sketch."""


def compare_reference_traces(left: ReferenceTrace, right: ReferenceTrace) -> tuple[StageDrift, ...]:
    """Compares two references at every stage, in order."""
    obstacle = _skip_reason(left.trace, right.trace)
    if obstacle:
        return tuple(build_not_compared(stage, obstacle) for stage in Stage)
    try:
        sides = ReferencePair(left.trace, right.trace, read_sketch(left.folder), read_sketch(right.folder))
    except SketchError as problem:
        return tuple(build_not_compared(stage, str(problem)) for stage in Stage)
    return tuple(_mark_consequences(_compare_stage(stage, sides) for stage in Stage))


def _skip_reason(left: Trace, right: Trace) -> str:
    if left.case_digest != right.case_digest:
        return "they were asked other cases of the same name"
    if left.outcome is right.outcome is not Outcome.CAPTURED:
        return f"both: {left.outcome}"
    return ""


def _mark_consequences(found: Iterator[StageDrift]) -> Iterator[StageDrift]:
    parted = False
    for each in found:
        yield replace(each, consequence=parted and each.status is DriftStatus.DRIFT)
        parted = parted or each.status is DriftStatus.DRIFT


def _compare_stage(stage: Stage, sides: ReferencePair) -> StageDrift:
    left, right = sides.left, sides.right
    if left.outcome is not right.outcome:
        words = "; ".join(_outcome(trace) for trace in (left, right))
        return build_drift(stage, words) if stage is Stage.PROMPT else build_not_compared(stage, words)
    if stage in _NEEDS_EQUAL_IDS and left.input_ids != right.input_ids:
        return build_not_compared(stage, "the ids differ, so the positions have no counterpart")
    return STAGE_COMPARISONS[stage](sides)


def _outcome(trace: Trace) -> str:
    version = trace.environment.packages.get("transformers", "")
    return f"{trace.backend} {version}: {trace.outcome}{': ' if trace.message else ''}{trace.message}"
