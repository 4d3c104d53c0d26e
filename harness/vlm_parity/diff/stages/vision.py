"""Comparison of the media's features, as merged into the sequence.

This distinguishes a fault of the vision tower from one of the language model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vlm_parity.diff.feature_distance import compute_feature_distances
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios, compute_rms
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.schema.noise_floor import StageNoise
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff

FEATURE_ROUNDING = 2.0**-24
"""The rounding of a feature as it is stored, in float32, relative to the features' own size."""


def diff_vision(pair: TracePair) -> StageDiff:
    """Compare the features of every medium, with the noise floor as tolerance.

    Those that are merged and those of each deeper layer are compared apart, each with its own noise: a noisy
    layer excuses no other one.
    """
    cached = pair.tested.cached_tokens
    embedded = [position for span in pair.reference.spans or () for position in span.positions]
    if embedded and max(embedded) < cached:
        return build_not_compared(Stage.VISION, "all positions of the media came from the prefix cache")
    skipped = sum(position < cached for position in embedded)
    assert pair.reference_tensors is not None
    assert pair.tested_tensors is not None
    reference = pair.reference_tensors.read(Stage.VISION)[skipped:]
    tested = pair.tested_tensors.read(Stage.VISION)
    if reference.shape != tested.shape:
        message = f"vision features have different shapes: {list(reference.shape)} and {list(tested.shape)}"
        return build_mismatch(Stage.VISION, message, {})
    noise = pair.noise(Stage.VISION)
    assert pair.floor is not None, "compare_stages checks it"
    assert noise is not None, "compare_stages checks it"
    layers = 1 + pair.reference.deep_levels
    sides = (np.split(side, layers, axis=1) for side in (reference, tested))
    noises = (
        StageNoise(noise.rms[:, row::layers], noise.largest[:, row::layers])
        for row in range(skipped * layers, (skipped + 1) * layers)
    )
    compared = [_compare_layer(*each) for each in zip(*sides, noises, strict=True)]
    layer = max(range(layers), key=lambda each: compared[each].ratios.limit_ratio)
    scale, rms, largest, ratios = compared[layer]
    metrics: dict[str, float | int] = {
        "positions": len(rms),
        **ratios.metrics,
        "max_abs": float(largest.max()),
        "rms": compute_rms(rms),
        "reference_rms": scale,
        "reference_not_finite": int((~np.isfinite(reference).all(axis=1)).sum()),
    }
    if layers > 1:
        metrics |= {"layers": layers, "worst_layer": layer}
    if cached:
        metrics["cached_tokens"] = cached
    if ratios.limit_ratio <= 1:
        return build_match(Stage.VISION, metrics)
    of_layer = f" of layer {layer}" if layers > 1 else ""
    head = (
        f"vision features{of_layer} differ at {metrics['over_limit']} of {len(rms)} embedded positions\n"
        f"{ratios.worst}; the floor is {pair.floor.source}\n"
        f"rms {metrics['rms']:.3g}, max abs {metrics['max_abs']:.3g}; the features of the reference "
        f"have an rms of {scale:.3g}\n"
    )
    lines = _format_lines(pair, ratios, rms / scale)
    return build_mismatch(
        Stage.VISION,
        head + format_table(("", "medium", "positions over", "largest, of the rms"), lines),
        metrics,
    )


class _Layer(NamedTuple):
    """The features of one layer, compared."""

    scale: float
    """The root mean square of the reference's."""
    rms: np.ndarray
    largest: np.ndarray
    ratios: NoiseRatios


def _compare_layer(reference: np.ndarray, tested: np.ndarray, noise: StageNoise) -> _Layer:
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))) or 1.0
    rms, largest = compute_feature_distances(reference, tested)
    return _Layer(scale, rms, largest, compute_noise_ratios(rms, largest, noise, scale * FEATURE_ROUNDING))


def _format_lines(pair: TracePair, ratios: NoiseRatios, distances: np.ndarray) -> list[tuple[str, ...]]:
    """Format one line per medium, except for media from the prefix cache."""
    lines: list[tuple[str, ...]] = []
    start = 0
    for span in pair.reference.spans or ():
        stop = start + sum(position >= pair.tested.cached_tokens for position in span.positions)
        rows = distances[start:stop]
        over = int((ratios.row_limit_ratios[start:stop] > 1).sum())
        start = stop
        if not len(rows):
            continue
        mark = ">" if over else " "
        lines.append((mark, f"{span.modality} {span.item}", f"{over} of {len(rows)}", f"{rows.max():.3g}"))
    return lines
