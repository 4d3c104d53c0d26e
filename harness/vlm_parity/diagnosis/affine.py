"""Fit of a factor and an offset per channel that turn the reference's pixel values into the tested ones."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.pixels import PixelPair, split_channels

FLAT_STD = 1e-6
"""Values with a smaller standard deviation count as constant."""
_SMALLEST_FACTOR = 1e-3
"""Below this nothing is left of the image."""


def fit_channels(pair: PixelPair) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the values of both sides as [3, values]; None if the channels are unknown."""
    if not pair.comparable:
        return None
    reference, tested = (
        split_channels(pair.reference, pair.reference_values),
        split_channels(pair.tested, pair.tested_values),
    )
    return None if reference is None or tested is None else (reference, tested)


def fit_affine(
    pair: PixelPair, reference: np.ndarray, tested: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a factor and an offset per channel, [3, 1] each; None if they do not explain the tested values.

    A constant channel does not determine a factor, so the result is None then, too.
    """
    if reference.std(axis=1).min() < FLAT_STD:
        return None
    mean, other = reference.mean(axis=1, keepdims=True), tested.mean(axis=1, keepdims=True)
    centered = reference - mean
    size = np.square(centered).sum(axis=1, keepdims=True)
    factors = (centered * (tested - other)).sum(axis=1, keepdims=True) / size
    offsets = other - factors * mean
    if factors.min() < _SMALLEST_FACTOR or not is_affine(pair, reference, tested, factors, offsets):
        return None
    return factors, offsets


def is_affine(
    pair: PixelPair, reference: np.ndarray, tested: np.ndarray, factors: np.ndarray, offsets: np.ndarray
) -> bool:
    """Return whether factors and offsets, [3, 1] each, explain the tested values up to rounding."""
    # A factor also scales the rounding of the reference's own values.
    slack = pair.compute_slack(tested) + 2.0**-20 * factors * np.abs(reference).max()
    return bool((np.abs(tested - factors * reference - offsets) <= slack).all())


def format_line(factors: np.ndarray, offsets: np.ndarray) -> str:
    """Format the factors and the offsets for a message."""
    scale = " / ".join(f"{factor:.4g}" for factor in factors[:, 0])
    shift = " / ".join(f"{offset:.4g}" for offset in offsets[:, 0])
    return f"times {scale} plus {shift} in the three channels"
