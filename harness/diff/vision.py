"""Are the media's features the same, as they are merged into the sequence?

This tells a mistake of the vision tower from one of the language model.
"""

from __future__ import annotations

import numpy as np

from harness.diff.pair import Pair, match, mismatch, not_compared, table
from harness.judge.bound import vision_bound
from harness.trace import Span, Stage
from harness.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares the features of every medium, relative to the root mean square of the reference's."""
    if pair.reference_tensors is None or pair.tested_tensors is None:
        return not_compared(Stage.VISION, "a side kept no arrays")
    reference = pair.reference_tensors.whole(Stage.VISION)
    tested = pair.tested_tensors.whole(Stage.VISION)
    if reference.shape != tested.shape:
        message = f"vision features have other shapes: {list(reference.shape)} and {list(tested.shape)}"
        return mismatch(Stage.VISION, message, {})
    bound = vision_bound(pair.tested.environment.dtype)
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))) or 1.0
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(reference - tested).max(axis=1) / scale, nan=np.inf)
    metrics: dict[str, float | int] = {
        "positions": len(apart),
        "max_rel": float(apart.max()),
        "over_bound": int((apart > bound.max_abs).sum()),
        "bound": bound.max_abs,
        "reference_rms": scale,
        "reference_not_finite": int((~np.isfinite(reference).all(axis=1)).sum()),
    }
    if not metrics["over_bound"]:
        return match(Stage.VISION, metrics)
    head = (
        f"vision features differ at {metrics['over_bound']} of {len(apart)} embedded positions\n"
        f"largest difference {metrics['max_rel']:.3g} of the features' root mean square "
        f"(bound {bound.max_abs:.3g}: {bound.source})\n"
    )
    lines = list(_lines(pair.reference.spans or (), apart, bound.max_abs))
    return mismatch(Stage.VISION, head + table(("", "medium", "positions over", "largest"), lines), metrics)


def _lines(spans: tuple[Span, ...], apart: np.ndarray, bound: float) -> list[tuple[str, ...]]:
    """One line a medium."""
    lines: list[tuple[str, ...]] = []
    start = 0
    for span in spans:
        part = apart[start : start + span.embedded]
        start += span.embedded
        over = int((part > bound).sum())
        mark = ">" if over else " "
        lines.append((mark, f"{span.modality} {span.item}", f"{over} of {len(part)}", f"{part.max():.3g}"))
    return lines
