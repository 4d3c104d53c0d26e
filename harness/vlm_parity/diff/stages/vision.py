"""Comparison of the media's features, as merged into the sequence.

This distinguishes a fault of the vision tower from one of the language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlm_parity.diff.feature_distance import compute_feature_distances
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios, compute_rms
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.diff.stages.media import find_media_order, format_media_order, pair_media
from vlm_parity.schema.noise_floor import StageNoise
from vlm_parity.schema.trace import Span, Stage, Trace
from vlm_parity.schema.verdict import REORDERED_MEDIA, StageDiff

FEATURE_ROUNDING = 2.0**-24
"""The rounding of a feature as it is stored, in float32, relative to the features' own size."""


def diff_vision(pair: TracePair) -> StageDiff:
    """Compare the features of every medium, with the noise floor as tolerance.

    Those that are merged and those of each deeper layer are compared apart, each with its own noise: a noisy
    layer excuses no other one. If the media are those of the reference in another order, so are the features.
    """
    cached = pair.tested.cached_tokens
    embedded = _list_positions(pair.reference)
    if embedded and max(embedded) < cached:
        return build_not_compared(Stage.VISION, "all positions of the media came from the prefix cache")
    skipped = sum(position < cached for position in embedded)
    diff = _diff_rows(pair, np.arange(skipped, _count_features(pair)), pair.reference.spans or ())
    return (_diff_reordered(pair) or diff) if diff.differs else diff


def diff_vision_by_medium(pair: TracePair, reason: str) -> StageDiff:
    """Compare the features medium by medium, wherever these are in the prompts.

    Args:
        pair: two traces whose ids differ.
        reason: why features without a counterpart are not compared.
    """
    rows = find_feature_rows(pair, {})
    if rows is None:
        return _diff_reordered(pair) or build_not_compared(Stage.VISION, reason)
    diff = _diff_rows(pair, rows, pair.tested.spans or ())
    return (_diff_reordered(pair) or diff) if diff.differs else diff


def _diff_reordered(pair: TracePair) -> StageDiff | None:
    """Compare the features of the same media in another order; return None if the media are others."""
    if pair.tested.cached_tokens or len(pair.reference.spans or ()) == 1:
        return None
    order = find_media_order(list(pair_media(pair)))
    rows = find_feature_rows(pair, order) if order else None
    if rows is None:
        return None
    diff = _diff_rows(pair, rows, pair.tested.spans or ())
    lines = [diff.message, f"compared medium by medium{format_media_order(order)}"]
    return diff.model_copy(
        update={
            "message": "\n".join(line for line in lines if line),
            "metrics": diff.metrics | {REORDERED_MEDIA: len(order)},
        }
    )


def find_feature_rows(pair: TracePair, order: Mapping[str, str]) -> np.ndarray | None:
    """Find the features of the reference that correspond to the tested ones.

    Args:
        pair: the traces.
        order: the name in the reference of each tested medium that is another one there.

    Returns:
        The row of the reference for each tested row, int64; None if the media or the numbers of their
        features differ.
    """
    rows: dict[str, np.ndarray] = {}
    start = 0
    for span in pair.reference.spans or ():
        rows[_get_name(span)] = np.arange(start, start + span.embedded)
        start += span.embedded
    spans = pair.tested.spans or ()
    found = [rows.get(order.get(_get_name(span), _get_name(span)), np.array([])) for span in spans]
    is_complete = len(spans) == len(rows) and start == _count_features(pair) and not pair.tested.cached_tokens
    if not is_complete or any(len(own) != span.embedded for own, span in zip(found, spans, strict=True)):
        return None
    return np.concatenate(found)


def _count_features(pair: TracePair) -> int:
    assert pair.reference_tensors is not None, "compare_stages checks it"
    return pair.reference_tensors.shape(Stage.VISION)[0]


def read_features(pair: TracePair, diff: StageDiff) -> tuple[np.ndarray, np.ndarray]:
    """Read the features of both sides, float64, those of the reference in the order that was compared.

    Args:
        pair: the traces.
        diff: the comparison at stage ``vision``.
    """
    assert pair.reference_tensors is not None, "the stage was compared"
    assert pair.tested_tensors is not None, "the stage was compared"
    sides = pair.reference_tensors.read(Stage.VISION), pair.tested_tensors.read(Stage.VISION)
    reference, tested = (side.astype(np.float64) for side in sides)
    order = find_media_order(list(pair_media(pair))) if REORDERED_MEDIA in diff.metrics else {}
    rows = find_feature_rows(pair, order)
    return (reference if rows is None else reference[rows]), tested


def _diff_rows(pair: TracePair, rows: np.ndarray, spans: Sequence[Span]) -> StageDiff:
    """Compare the features of the tested side with rows of the reference.

    Args:
        pair: the traces.
        rows: of the reference, one for each tested row.
        spans: of the media, in the order of the rows.
    """
    assert pair.reference_tensors is not None
    assert pair.tested_tensors is not None
    reference = pair.reference_tensors.read(Stage.VISION)[rows]
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
        StageNoise(noise.rms[:, rows * layers + layer], noise.largest[:, rows * layers + layer])
        for layer in range(layers)
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
    if pair.tested.cached_tokens:
        metrics["cached_tokens"] = pair.tested.cached_tokens
    if ratios.limit_ratio <= 1:
        return build_match(Stage.VISION, metrics)
    of_layer = f" of layer {layer}" if layers > 1 else ""
    head = (
        f"vision features{of_layer} differ at {metrics['over_limit']} of {len(rms)} embedded positions\n"
        f"{ratios.worst}; the floor is {pair.floor.source}\n"
        f"rms {metrics['rms']:.3g}, max abs {metrics['max_abs']:.3g}; the features of the reference "
        f"have an rms of {scale:.3g}\n"
    )
    lines = _format_lines(spans, pair.tested.cached_tokens, ratios, rms / scale)
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


def _list_positions(trace: Trace) -> list[int]:
    return [position for span in trace.spans or () for position in span.positions]


def _get_name(span: Span) -> str:
    """Return the name of a medium, as in ``pair_media``."""
    return f"{span.modality} {span.item}"


def _format_lines(
    spans: Sequence[Span], cached: int, ratios: NoiseRatios, distances: np.ndarray
) -> list[tuple[str, ...]]:
    """Format one line per medium, except for media from the prefix cache."""
    lines: list[tuple[str, ...]] = []
    start = 0
    for span in spans:
        stop = start + sum(position >= cached for position in span.positions)
        rows = distances[start:stop]
        over = int((ratios.row_limit_ratios[start:stop] > 1).sum())
        start = stop
        if not len(rows):
            continue
        mark = ">" if over else " "
        lines.append((mark, _get_name(span), f"{over} of {len(rows)}", f"{rows.max():.3g}"))
    return lines
