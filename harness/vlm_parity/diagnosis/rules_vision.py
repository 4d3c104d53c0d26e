"""Rules for the vision tower's features."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.arrays import fit_scale_factor, matches_expected, open_array_files
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus


@register_rule("vision features scaled", Stage.VISION)
def explain_scaled_features(finding: RuleInput) -> Explanation | None:
    """One factor turns the reference's features into the tested ones, but for noise."""
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return None
    factor = fit_scale_factor(finding, ours, theirs)
    if factor is None:
        return None
    return 1.0, (
        f"{finding.pair.tested.backend}'s features are the reference's times {factor:.6g}: a scale is "
        f"applied twice, not at all, or with another value."
    )


@register_rule("vision features reordered", Stage.VISION)
def explain_feature_order(finding: RuleInput) -> Explanation | None:
    """The same rows at other positions."""
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return None
    nearest = _nearest_rows(ours, theirs)
    moved = int((nearest != np.arange(len(nearest))).sum())
    if moved == 0 or not matches_expected(finding, ours, ours[nearest], theirs):
        return None
    return 1.0, (
        f"All {len(nearest)} features are the reference's, {moved} of them at other positions; the first "
        f"that moved stands where the reference has that of embedded position {_find_first_moved(nearest)}."
    )


@register_rule("vision tower differs with equal pixels", Stage.VISION)
def explain_vision_tower(finding: RuleInput) -> Explanation | None:
    """What enters the tower is the same, what leaves it is not."""
    if finding.stage(Stage.MEDIA).status is not DiffStatus.MATCH:
        return None
    metrics = finding.diff.metrics
    size = metrics.get("rms", 0) / (metrics.get("reference_rms", 0) or 1)
    return 0.7, (
        f"Pixels and grids are the same, and the features differ by {size:.2g} of their own size, "
        f"{metrics.get('sequence_ratio', 0):.3g} times the noise: look at activation, attention mask, "
        f"windows, norms and rotary positions of the vision tower, and at its projection."
    )


def _both(finding: RuleInput) -> tuple[np.ndarray, np.ndarray]:
    """float64 [embedded positions, hidden] of the reference and of the tested side."""
    ours, theirs = (side.read(Stage.VISION).astype(np.float64) for side in open_array_files(finding))
    return ours, theirs


def _nearest_rows(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """int64 [rows]: for each tested row the reference's row that is nearest to it."""
    squares = np.square(ours).sum(axis=1)[None] - 2 * theirs @ ours.T
    nearest: np.ndarray = squares.argmin(axis=1)
    return nearest


def _find_first_moved(nearest: np.ndarray) -> int:
    return int(nearest[int((nearest != np.arange(len(nearest))).argmax())])
