"""Whether one side's values are the other's, times a factor and plus an offset in each channel."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.pixels import PixelPair, split_channels

FLAT_STD = 1e-6
"""Values of no more contrast are all the same."""
_SMALLEST_FACTOR = 1e-3
"""Below this nothing is left of the picture."""


def fit_channels(both: PixelPair) -> tuple[np.ndarray, np.ndarray] | None:
    """Both sides as [3, values]; None where channels cannot be told."""
    if not both.comparable:
        return None
    ours, theirs = split_channels(both.reference, both.ours), split_channels(both.tested, both.theirs)
    return None if ours is None or theirs is None else (ours, theirs)


def fit_affine(both: PixelPair, ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A factor and an offset for each channel, [3, 1], that turn ours into theirs, with nothing left over;
    None where a channel is flat, for it tells nothing of a factor.
    """
    if ours.std(axis=1).min() < FLAT_STD:
        return None
    mean, other = ours.mean(axis=1, keepdims=True), theirs.mean(axis=1, keepdims=True)
    centred = ours - mean
    size = np.square(centred).sum(axis=1, keepdims=True)
    factors = (centred * (theirs - other)).sum(axis=1, keepdims=True) / size
    offsets = other - factors * mean
    if factors.min() < _SMALLEST_FACTOR or not is_affine(both, ours, theirs, factors, offsets):
        return None
    return factors, offsets


def is_affine(
    both: PixelPair, ours: np.ndarray, theirs: np.ndarray, factors: np.ndarray, offsets: np.ndarray
) -> bool:
    """Whether a factor and an offset for each channel, [3, 1], turn ours into theirs, but for rounding."""
    # A factor enlarges what the reference's own values are rounded by.
    slack = both.slack(theirs) + 2.0**-20 * factors * np.abs(ours).max()
    return bool((np.abs(theirs - factors * ours - offsets) <= slack).all())


def format_line(factors: np.ndarray, offsets: np.ndarray) -> str:
    """The two in words."""
    by = " / ".join(f"{factor:.4g}" for factor in factors[:, 0])
    plus = " / ".join(f"{offset:.4g}" for offset in offsets[:, 0])
    return f"times {by} plus {plus} in the three channels"
