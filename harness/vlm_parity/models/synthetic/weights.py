"""Initial weights that are the same on every platform and make faults visible.

The default initialization (std 0.02) makes the logits of a tiny model nearly flat: another image changes the
log-probabilities by 1 at most, with these weights by 6 to 7 (all three Qwen families).
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

BIAS_STD = 0.05
NORM_STD = 0.1
"""The mean is 1."""
MIN_ABS_VALUE = 2.0**-14
"""The smallest normal number of fp16, which would round smaller ones."""


def fill_weights(model: Any) -> None:
    """Set every parameter of a torch module, in place."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw_initial_values(name, tuple(parameter.shape))))


def draw_initial_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float32 numbers for a parameter; they depend only on its name and shape."""
    if len(shape) > 1:
        # For a matrix 1 / sqrt(fan in). For an embedding 1 / sqrt(width): a tied one is also the head, and
        # with the common std of 0.5 an image changes the last logits by a third less.
        return _draw_values(name, shape, 0.0, 1 / math.sqrt(math.prod(shape[1:])))
    return (
        _draw_values(name, shape, 0.0, BIAS_STD)
        if name.endswith("bias")
        else _draw_values(name, shape, 1.0, NORM_STD)
    )


def _draw_values(name: str, shape: tuple[int, ...], mean: float, std: float) -> np.ndarray:
    """Draw numbers that both bf16 and fp16 represent exactly: no engine rounds them on loading.

    They are uniform, since that needs no libm, whose last bits differ between platforms, and come from
    RandomState, since numpy guarantees its stream.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    drawn = np.random.RandomState(seed).random_sample(shape)
    return round_to_representable(mean + std * math.sqrt(12) * (drawn - 0.5))


def round_to_representable(numbers: np.ndarray) -> np.ndarray:
    """Round to the nearest bf16 numbers, as float32: ties away from zero, the smallest numbers to zero."""
    bits = numbers.astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.abs(rounded) < MIN_ABS_VALUE, np.float32(0), rounded)
