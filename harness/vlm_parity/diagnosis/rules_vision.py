"""Rules on the features of the vision tower."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.arrays import (
    find_low_precision,
    fit_scale_factor,
    matches_expected,
    open_array_files,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.noise_tolerance import ROW_LIMIT, compute_rms
from vlm_parity.diff.stages.vision import read_features
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import REORDERED_MEDIA, DiffStatus

_ALL = "features"
_MERGED = "features that are merged into the sequence"
_MERGED_AGREE = (
    "those that are merged into the sequence agree, but its language model has nothing to add to the outputs "
    "of its first layers"
)


@register_rule("vision features scaled", Stage.VISION)
def explain_scaled_features(rule_input: RuleInput) -> Explanation | None:
    """Detect features that are the reference's times one factor, up to noise."""
    name, reference, tested = _read_differing_features(rule_input)
    if reference.shape != tested.shape or not np.isfinite(tested).all():
        return None
    factor = fit_scale_factor(rule_input, reference, tested)
    if factor is None:
        return None
    return 1.0, (
        f"The {name} of {rule_input.pair.tested.backend} are those of the reference times {factor:.6g}: a "
        "scale is applied twice, not at all, or with a different value."
    )


@register_rule("vision features reordered", Stage.VISION)
def explain_feature_order(rule_input: RuleInput) -> Explanation | None:
    """Detect equal rows in a different order."""
    name, reference, tested = _read_differing_features(rule_input)
    if reference.shape != tested.shape or not np.isfinite(tested).all():
        return None
    nearest = _nearest_rows(reference, tested)
    moved = int((nearest != np.arange(len(nearest))).sum())
    if moved == 0 or not matches_expected(rule_input, reference, reference[nearest], tested):
        return None
    own = _nearest_rows(reference, reference)  # equal rows count as one
    if sorted(own[nearest]) != sorted(own):
        return None
    return 1.0, (
        f"All {len(nearest)} {name} equal those of the reference, but {moved} are at different positions; "
        f"the first one belongs at embedded position {_find_first_moved(nearest)}."
    )


@register_rule("vision features repeated", Stage.VISION)
def explain_repeated_features(rule_input: RuleInput) -> Explanation | None:
    """Detect rows that stand in place of others, so that some are there more than once."""
    name, reference, tested = _read_differing_features(rule_input)
    if reference.shape != tested.shape or not np.isfinite(tested).all():
        return None
    nearest = _nearest_rows(reference, tested)
    if not matches_expected(rule_input, reference, reference[nearest], tested):
        return None
    own = _nearest_rows(reference, reference)
    lost = set(own.tolist()) - set(own[nearest].tolist())
    if not lost:
        return None
    return 1.0, (
        f"All {len(nearest)} {name} equal some of the reference, but {len(lost)} of these are missing, and "
        f"others are there more than once; the first one missing belongs at embedded position {min(lost)}."
    )


@register_rule("vision features in lower-precision dtype", Stage.VISION)
def explain_low_precision_features(rule_input: RuleInput) -> Explanation | None:
    """Detect features that are representable in a lower-precision dtype than the engine's."""
    side = rule_input.pair.tested
    _, tensors = open_array_files(rule_input)
    dtype = find_low_precision(tensors.read(Stage.VISION))
    if side.environment.dtype != "float32" or dtype is None:
        return None
    return 1.0, (
        f"{side.backend} is configured to compute in float32, but every feature is a {dtype} value: the "
        f"vision tower, or what it hands to the language model, runs in {dtype}."
    )


@register_rule("deep features dropped", Stage.VISION)
def explain_dropped_levels(rule_input: RuleInput) -> Explanation | None:
    """Detect features of deeper layers that are zero or missing, while the merged ones agree."""
    pair = rule_input.pair
    name, reference, tested = _read_differing_features(rule_input)
    if reference.shape != tested.shape:
        noise, levels = pair.noise(Stage.VISION), pair.reference.deep_levels
        merged = reference[:, : reference.shape[1] // (1 + levels)]
        if pair.tested.deep_levels or not levels or merged.shape != tested.shape or noise is None:
            return None
        if compute_rms(tested - merged) > ROW_LIMIT * compute_rms(noise.rms[:, :: 1 + levels]):
            return None
        return 1.0, f"{pair.tested.backend} has no features for {levels} deeper layers; {_MERGED_AGREE}."
    if name in {_ALL, _MERGED} or tested.any():
        return None
    return 1.0, f"The {name} of {pair.tested.backend} are zero; {_MERGED_AGREE}."


@register_rule("vision tower differs with equal pixels", Stage.VISION, is_general=True)
def explain_vision_tower(rule_input: RuleInput) -> Explanation | None:
    """Detect different features for equal inputs of the tower."""
    is_reordered = REORDERED_MEDIA in rule_input.diff.metrics
    if rule_input.stage(Stage.MEDIA).status is not DiffStatus.MATCH and not is_reordered:
        return None
    metrics = rule_input.diff.metrics
    size = metrics.get("rms", 0) / (metrics.get("reference_rms", 0) or 1)
    order = ", but for the order of the media" if is_reordered else ""
    return 0.7, (
        f"Pixels and grids match{order}, but the features differ by {size:.2g} of their magnitude, "
        f"{metrics.get('sequence_ratio', 0):.3g} times the noise: check activation, attention mask, windows, "
        "norms and rotary positions of the vision tower, and its projection."
    )


def _read_differing_features(rule_input: RuleInput) -> tuple[str, np.ndarray, np.ndarray]:
    """Read the features that differ: all, those that are merged, or those of some deeper layers.

    Returns:
        What they are; and both sides, float64 [embedded positions, hidden * differing layers].
    """
    reference, tested = read_features(rule_input.pair, rule_input.diff)
    noise = rule_input.pair.noise(Stage.VISION)
    layers = 1 + rule_input.pair.reference.deep_levels
    if layers == 1 or reference.shape != tested.shape or noise is None:
        return _ALL, reference, tested
    sides = [np.split(side, layers, axis=1) for side in (reference, tested)]
    limits = [ROW_LIMIT * compute_rms(noise.rms[:, layer::layers]) for layer in range(layers)]
    differing = [
        layer for layer in range(layers) if compute_rms(sides[1][layer] - sides[0][layer]) > limits[layer]
    ]
    if len(differing) in {0, layers}:
        return _ALL, reference, tested
    name = _MERGED if differing == [0] else f"features of layers {', '.join(map(str, differing))}"
    left, right = (np.concatenate([side[layer] for layer in differing], axis=1) for side in sides)
    return name, left, right


def _nearest_rows(reference: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return the index of the nearest reference row for each tested row, int64 [rows]."""
    squares = np.square(reference).sum(axis=1)[None] - 2 * tested @ reference.T
    nearest: np.ndarray = squares.argmin(axis=1)
    return nearest


def _find_first_moved(nearest: np.ndarray) -> int:
    return int(nearest[int((nearest != np.arange(len(nearest))).argmax())])
