"""Rules on the features of the vision tower."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.arrays import fit_scale_factor, matches_expected, open_array_files
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus


@register_rule("vision features scaled", Stage.VISION)
def explain_scaled_features(rule_input: RuleInput) -> Explanation | None:
    """Detect features that are the reference's times one factor, up to noise."""
    reference, tested = _read_features(rule_input)
    if reference.shape != tested.shape or not np.isfinite(tested).all():
        return None
    factor = fit_scale_factor(rule_input, reference, tested)
    if factor is None:
        return None
    return 1.0, (
        f"The features of {rule_input.pair.tested.backend} are those of the reference times {factor:.6g}: a "
        "scale is applied twice, not at all, or with a different value."
    )


@register_rule("vision features reordered", Stage.VISION)
def explain_feature_order(rule_input: RuleInput) -> Explanation | None:
    """Detect equal rows in a different order."""
    reference, tested = _read_features(rule_input)
    if reference.shape != tested.shape or not np.isfinite(tested).all():
        return None
    nearest = _nearest_rows(reference, tested)
    moved = int((nearest != np.arange(len(nearest))).sum())
    if moved == 0 or not matches_expected(rule_input, reference, reference[nearest], tested):
        return None
    return 1.0, (
        f"All {len(nearest)} features equal those of the reference, but {moved} are at different positions; "
        f"the first one belongs at embedded position {_find_first_moved(nearest)}."
    )


@register_rule("vision tower differs with equal pixels", Stage.VISION)
def explain_vision_tower(rule_input: RuleInput) -> Explanation | None:
    """Detect different features for equal inputs of the tower."""
    if rule_input.stage(Stage.MEDIA).status is not DiffStatus.MATCH:
        return None
    metrics = rule_input.diff.metrics
    size = metrics.get("rms", 0) / (metrics.get("reference_rms", 0) or 1)
    return 0.7, (
        f"Pixels and grids match, but the features differ by {size:.2g} of their magnitude, "
        f"{metrics.get('sequence_ratio', 0):.3g} times the noise: check activation, attention mask, windows, "
        "norms and rotary positions of the vision tower, and its projection."
    )


def _read_features(rule_input: RuleInput) -> tuple[np.ndarray, np.ndarray]:
    """Read the features of both sides, float64 [embedded positions, hidden]."""
    reference, tested = (side.read(Stage.VISION).astype(np.float64) for side in open_array_files(rule_input))
    return reference, tested


def _nearest_rows(reference: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return the index of the nearest reference row for each tested row, int64 [rows]."""
    squares = np.square(reference).sum(axis=1)[None] - 2 * tested @ reference.T
    nearest: np.ndarray = squares.argmin(axis=1)
    return nearest


def _find_first_moved(nearest: np.ndarray) -> int:
    return int(nearest[int((nearest != np.arange(len(nearest))).argmax())])
