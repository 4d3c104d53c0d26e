"""The bound of an engine's own normalization, against both orders of operations, written out in float32."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.diff.pixel_tolerance import compute_device_bound

BYTES = np.arange(256, dtype=np.float32)
FACTORS = st.sampled_from([1 / 255, 0.00392156862745098, 1 / 127.5, 1 / 256])
MEANS = st.just(0.0) | st.floats(2.0**-20, 1.0)
"""No mean of an image is so small that float32 would hold it with fewer digits."""


def as_transformers(mean: float, std: float, factor: float) -> np.ndarray:
    """``_fuse_mean_std_and_rescale_factor`` and ``normalize``."""
    inverse = np.float32(1.0 / factor)
    return (BYTES - np.float32(mean) * inverse) / (np.float32(std) * inverse)


def as_vllm(mean: float, std: float, factor: float) -> tuple[np.ndarray, np.float32]:
    """``FusedMMInputNorm``; torch divides a number by a tensor as the number times its inverse."""
    weight = (np.float32(1) / np.float32(std)) * np.float32(factor)
    bias = -np.float32(mean) / np.float32(std)
    return BYTES * weight + bias, bias


@given(MEANS, st.floats(0.05, 1.0), FACTORS)
def test_no_rounding_leaves_it(mean: float, std: float, factor: float) -> None:
    reference = as_transformers(mean, std, factor)
    tested, bias = as_vllm(mean, std, factor)
    assert reference.dtype == tested.dtype == np.float32
    apart = np.abs(reference.astype(np.float64) - tested)
    assert (apart <= compute_device_bound(reference, abs(float(bias)))).all()


def test_it_is_no_wider_than_it_has_to_be() -> None:
    """Over the means and deviations of released processors the largest rounding takes a tenth of it."""
    used = 0.0
    for mean, std in [
        (0.48145466, 0.26862954),
        (0.4578275, 0.26130258),
        (0.40821073, 0.27577711),
        (0.5, 0.5),
    ]:
        reference = as_transformers(mean, std, 1 / 255)
        tested, bias = as_vllm(mean, std, 1 / 255)
        bound = compute_device_bound(reference, abs(float(bias)))
        used = max(used, float((np.abs(reference.astype(np.float64) - tested) / bound).max()))
        assert bound.max() * 1000 < 1 / 255 / std, "a gray level is far beyond it"
    assert 0.05 < used < 1
