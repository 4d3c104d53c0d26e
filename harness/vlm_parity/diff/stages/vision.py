"""Are the media's features the same, as they are merged into the sequence?

This tells a mistake of the vision tower from one of the language model.
"""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.feature_distance import select_feature_rows
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios, compute_rms
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff

FEATURE_ROUNDING = 2.0**-24
"""The rounding of a feature as it is stored, in float32, relative to the features' own size."""


def diff_vision(pair: TracePair) -> StageDiff:
    """Compares the features of every medium against the noise of the reference's."""
    if pair.reference_tensors is None or pair.tested_tensors is None:
        return build_not_compared(Stage.VISION, "a side kept no arrays")
    cached = pair.tested.cached_tokens
    embedded = [position for span in pair.reference.spans or () for position in span.positions]
    if embedded and max(embedded) < cached:
        return build_not_compared(Stage.VISION, "all of the media's positions came from the prefix cache")
    pair = pair.skip_rows(Stage.VISION, sum(position < cached for position in embedded))
    assert pair.reference_tensors is not None
    assert pair.tested_tensors is not None
    reference = pair.reference_tensors.read(Stage.VISION)
    tested = pair.tested_tensors.read(Stage.VISION)
    if reference.shape != tested.shape:
        message = f"vision features have other shapes: {list(reference.shape)} and {list(tested.shape)}"
        return build_mismatch(Stage.VISION, message, {})
    noise = pair.noise(Stage.VISION)
    assert pair.floor is not None and noise is not None, "compare() looks for it"
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))) or 1.0
    rms, largest = select_feature_rows(reference, tested)
    found = compute_noise_ratios(rms, largest, noise, scale * FEATURE_ROUNDING)
    metrics: dict[str, float | int] = {
        "positions": len(rms),
        **found.metrics,
        "max_abs": float(largest.max()),
        "rms": compute_rms(rms),
        "reference_rms": scale,
        "reference_not_finite": int((~np.isfinite(reference).all(axis=1)).sum()),
    }
    if cached:
        metrics["cached_tokens"] = cached
    if found.limit_ratio <= 1:
        return build_match(Stage.VISION, metrics)
    head = (
        f"vision features differ at {metrics['over_limit']} of {len(rms)} embedded positions\n"
        f"{found.worst}; the floor is {pair.floor.source}\n"
        f"rms {metrics['rms']:.3g}, max abs {metrics['max_abs']:.3g}; the reference's features have an rms "
        f"of {scale:.3g}\n"
    )
    lines = list(_lines(pair, found, rms / scale))
    return build_mismatch(
        Stage.VISION,
        head + format_table(("", "medium", "positions over", "largest, of the rms"), lines),
        metrics,
    )


def _lines(pair: TracePair, found: NoiseRatios, apart: np.ndarray) -> list[tuple[str, ...]]:
    """One line a medium of which anything was run."""
    lines: list[tuple[str, ...]] = []
    start = 0
    for span in pair.reference.spans or ():
        stop = start + sum(position >= pair.tested.cached_tokens for position in span.positions)
        part = apart[start:stop]
        over = int((found.row_limit_ratios[start:stop] > 1).sum())
        start = stop
        if not len(part):
            continue
        mark = ">" if over else " "
        lines.append((mark, f"{span.modality} {span.item}", f"{over} of {len(part)}", f"{part.max():.3g}"))
    return lines
