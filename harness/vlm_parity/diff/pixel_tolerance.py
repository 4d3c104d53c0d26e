"""Bound on the differences of pixel values if an engine normalizes on its device."""

from __future__ import annotations

import numpy as np

_UNIT = 2.0**-24  # half the distance from 1 to the next float32

BOUND_SOURCE = (
    "float32 rounding of pixel * weight + bias in another order of operations: "
    "2^-24 x (12 x |value| + 14 x |bias|)"
)


def compute_device_bound(values: np.ndarray, bias: float) -> np.ndarray:
    """Compute the largest difference allowed, value by value, if an engine normalizes by itself.

    Both sides compute ``y = (x r - m) / s`` of the same bytes x in float32, with the rescale factor r, mean m
    and standard deviation s, ``b = -m / s``, ``w = r / s``. With the unit roundoff u, to first order in u:

    - transformers (``_fuse_mean_std_and_rescale_factor``, then ``normalize``) computes
      ``(x - m') / s'`` with ``m' = m (1 / r)`` and ``s' = s (1 / r)``. Two rounded factors and their
      product cause three roundings in each, subtraction and division one each: at most
      ``5u |y| + 3u |b|``.
    - vLLM (``FusedMMInputNorm``) computes ``x w' + b'`` with ``w' = (1 / s) r`` (the roundings of s, of
      its inverse, of r and of the product) and ``b' = -m / s`` (three). The product with x and the sum
      add one each: at most ``6u |x w| + 4u |b|``, and ``|x w| <= |y| + |b|``.

    Together ``u (11 |y| + 13 |b|)``; one more u of each covers the higher orders. A fused multiply-add of a
    GPU rounds once less. One gray level is about 5,000 times as much.

    Args:
        values: pixel values from transformers, of any shape.
        bias: the largest ``|b|`` of a channel.

    Returns:
        float64, of the shape of ``values``.
    """
    bound: np.ndarray = _UNIT * (12 * np.abs(values, dtype=np.float64) + 14 * bias)
    return bound
