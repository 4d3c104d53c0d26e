"""Comparison of two references at each stage, based on their records and sketches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest

import numpy as np

from vlm_parity.drift.rounding import compute_rounding_bound
from vlm_parity.schema.array_sketch import ArraySketch, Sketch, estimate_rms_distance
from vlm_parity.schema.trace import MediaInput, Stage, Trace
from vlm_parity.util.sequences import count_common_prefix


class DriftStatus(StrEnum):
    """Result of the comparison of two references at one stage."""

    EQUAL = "equal"
    ROUNDING = "within rounding"
    DRIFT = "drift"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class StageDrift:
    """The comparison of two references at one stage."""

    stage: Stage
    status: DriftStatus
    message: str = ""
    rms: float | None = None
    """At a numeric stage, the estimated root mean square difference at the worst position."""
    bound: float | None = None
    """The part of ``rms`` that rounding explains."""
    consequence: bool = False
    """True if it follows an earlier drift."""


@dataclass(frozen=True)
class ReferencePair:
    """Two references with the sketches of their arrays."""

    left: Trace
    right: Trace
    left_sketch: Sketch
    right_sketch: Sketch

    def arrays(self, name: str) -> tuple[ArraySketch, ArraySketch] | None:
        """Return the sketches of one array; None if a side has none."""
        left, right = self.left_sketch.arrays.get(name), self.right_sketch.arrays.get(name)
        return None if left is None or right is None else (left, right)


def _prompt(sides: ReferencePair) -> StageDrift:
    left, right = sides.left.prompt, sides.right.prompt
    if left is None or right is None:
        return build_not_compared(Stage.PROMPT, _MISSING)
    if left == right:
        return StageDrift(Stage.PROMPT, DriftStatus.EQUAL)
    index = count_common_prefix(left, right)
    return build_drift(
        Stage.PROMPT,
        f"first difference at character {index}: {left[index : index + _SHOWN]!r}, "
        f"{right[index : index + _SHOWN]!r}",
    )


def _input_ids(sides: ReferencePair) -> StageDrift:
    return _ids(Stage.INPUT_IDS, sides, sides.left.input_ids, sides.right.input_ids)


def _greedy(sides: ReferencePair) -> StageDrift:
    return _ids(Stage.GREEDY, sides, sides.left.greedy, sides.right.greedy)


def _ids(
    stage: Stage, sides: ReferencePair, left: tuple[int, ...] | None, right: tuple[int, ...] | None
) -> StageDrift:
    if left is None or right is None:
        return build_not_compared(stage, _MISSING)
    if left == right:
        return StageDrift(stage, DriftStatus.EQUAL)
    index = count_common_prefix(left, right)
    shown = [
        f"{trace.vocabulary.get(ids[index], '')!r} ({ids[index]})" if index < len(ids) else "the end"
        for trace, ids in ((sides.left, left), (sides.right, right))
    ]
    return build_drift(
        stage,
        f"{len(left)} and {len(right)} ids; first difference at index {index}: {', '.join(shown)}",
    )


def _spans(sides: ReferencePair) -> StageDrift:
    left, right = sides.left.spans, sides.right.spans
    if left is None or right is None:
        return build_not_compared(Stage.SPANS, _MISSING)
    different = sum(a != b for a, b in zip_longest(left, right))
    if not different:
        return StageDrift(Stage.SPANS, DriftStatus.EQUAL)
    return build_drift(Stage.SPANS, f"{len(left)} and {len(right)} spans, {different} differ")


def _media(sides: ReferencePair) -> StageDrift:
    left, right = sides.left.media, sides.right.media
    if left is None or right is None:
        return build_not_compared(Stage.MEDIA, _MISSING)
    names = [[(m.modality, m.item, m.arrays) for m in media] for media in (left, right)]
    if names[0] != names[1]:
        return build_drift(Stage.MEDIA, f"different media or arrays: {names[0]}, {names[1]}")
    for a, b in zip(left, right, strict=True):
        if a.fields != b.fields:
            return build_drift(Stage.MEDIA, f"{a.modality} {a.item}: {a.fields}, {b.fields}")
    return _worst_drift([_medium(sides, medium, name) for medium in left for name in medium.arrays])


def _medium(sides: ReferencePair, medium: MediaInput, array: str) -> StageDrift:
    sketches = sides.arrays(medium.tensor_name(array))
    if sketches is None:
        return build_not_compared(Stage.MEDIA, _MISSING)
    compared = _numeric(Stage.MEDIA, sides, *sketches, _rms(sketches[0]))
    if not compared.message:
        return compared
    return replace(compared, message=f"{medium.modality} {medium.item} {array}: {compared.message}")


def _worst_drift(drifts: list[StageDrift]) -> StageDrift:
    """Return the drift of the medium that differs most."""
    order = list(_SEVERITY_ORDER)
    best = StageDrift(Stage.MEDIA, DriftStatus.EQUAL)
    return min(drifts, key=lambda drift: (order.index(drift.status), -(drift.rms or 0.0)), default=best)


def _positions(sides: ReferencePair) -> StageDrift:
    left, right = (sketch.whole.get("positions") for sketch in (sides.left_sketch, sides.right_sketch))
    if left is None or right is None:
        return build_not_compared(Stage.POSITIONS, _MISSING)
    if left.shape != right.shape:
        return build_drift(Stage.POSITIONS, f"different shapes: {list(left.shape)}, {list(right.shape)}")
    differs = (left != right).any(axis=0)
    if not differs.any():
        return StageDrift(Stage.POSITIONS, DriftStatus.EQUAL)
    index = int(differs.argmax())
    return build_drift(
        Stage.POSITIONS,
        f"{int(differs.sum())} of {len(differs)} differ; first at index {index}: "
        f"{left[:, index].tolist()}, {right[:, index].tolist()}",
    )


def _vision(sides: ReferencePair) -> StageDrift:
    sketches = sides.arrays(Stage.VISION)
    if sketches is None:
        return build_not_compared(Stage.VISION, _MISSING)
    return _numeric(Stage.VISION, sides, *sketches, _rms(sketches[0]))


def _logits(stage: Stage, sides: ReferencePair) -> StageDrift:
    sketches = sides.arrays(stage)
    if sketches is None:
        return build_not_compared(stage, _MISSING)
    if stage is Stage.DECODE and sides.left.continuation != sides.right.continuation:
        return build_not_compared(stage, "the continuations differ")
    return _numeric(stage, sides, *sketches, 1.0)


def _numeric(
    stage: Stage, sides: ReferencePair, left: ArraySketch, right: ArraySketch, scale: float
) -> StageDrift:
    """Compare two arrays row by row, relative to ``scale``."""
    if left.shape != right.shape:
        return build_drift(stage, f"different shapes: {list(left.shape)}, {list(right.shape)}")
    if not len(left.rows):
        return build_not_compared(stage, "there is no position to compare")
    if left.digest == right.digest:
        return StageDrift(stage, DriftStatus.EQUAL, rms=0.0)
    distances = estimate_rms_distance(left, right) / (scale or 1.0)
    if not np.isfinite(distances).all():
        return build_drift(stage, f"not finite at {int((~np.isfinite(distances)).sum())} positions")
    worst, bound = int(distances.argmax()), compute_rounding_bound(stage, _dtypes(sides))
    message = (
        f"estimated root mean square difference {distances[worst]:.2g} at the worst position, {worst}, "
        f"{np.sqrt(np.mean(distances**2)):.2g} overall; rounding explains {bound.rms:.2g} ({bound.source})"
    )
    status = DriftStatus.ROUNDING if distances[worst] <= bound.rms else DriftStatus.DRIFT
    return StageDrift(stage, status, message, float(distances[worst]), bound.rms)


def _rms(array: ArraySketch) -> float:
    return float(np.sqrt(np.mean(array.mean_square))) if len(array.mean_square) else 1.0


def _dtypes(sides: ReferencePair) -> tuple[str, str]:
    return sides.left.environment.dtype, sides.right.environment.dtype


def build_drift(stage: Stage, message: str) -> StageDrift:
    """Build the result of a stage that has drifted."""
    return StageDrift(stage, DriftStatus.DRIFT, message)


def build_not_compared(stage: Stage, message: str) -> StageDrift:
    """Build the result of a stage that could not be compared."""
    return StageDrift(stage, DriftStatus.NOT_COMPARED, message)


_MISSING = "a side stored nothing for this stage"
_SHOWN = 40  # characters of a prompt
_SEVERITY_ORDER = (DriftStatus.DRIFT, DriftStatus.NOT_COMPARED, DriftStatus.ROUNDING, DriftStatus.EQUAL)
STAGE_COMPARISONS: dict[Stage, Callable[[ReferencePair], StageDrift]] = {
    Stage.PROMPT: _prompt,
    Stage.INPUT_IDS: _input_ids,
    Stage.SPANS: _spans,
    Stage.ENCODER_BUDGET: lambda _: build_not_compared(Stage.ENCODER_BUDGET, "transformers reserves nothing"),
    Stage.MEDIA: _media,
    Stage.POSITIONS: _positions,
    Stage.VISION: _vision,
    Stage.PREFILL: lambda sides: _logits(Stage.PREFILL, sides),
    Stage.DECODE: lambda sides: _logits(Stage.DECODE, sides),
    Stage.GREEDY: _greedy,
}
