"""Initial weights that are the same everywhere and make faults visible.

The default initialisation (std 0.02) makes the logits of a tiny model nearly flat: another picture
moves the log-probabilities by 1 at most, with these weights by 6 to 7 (all three Qwen families).
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

BIAS_STD = 0.05
NORM_STD = 0.1
"""Around 1."""
MIN_ABS_VALUE = 2.0**-14
"""The smallest normal number of fp16; what is smaller would be rounded there."""


def fill_weights(model: Any) -> None:
    """Sets every parameter of a torch module, in place."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(draw_initial_values(name, tuple(parameter.shape))))


def draw_initial_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 numbers for the parameter of this name, whatever was drawn before."""
    if len(shape) > 1:
        # For a matrix 1 / sqrt(fan in). For an embedding 1 / sqrt(width): where it is tied, it is
        # the head too; with 0.5, as often used, pictures move the last logits by a third less.
        return _draw_values(name, shape, 0.0, 1 / math.sqrt(math.prod(shape[1:])))
    return (
        _draw_values(name, shape, 0.0, BIAS_STD)
        if name.endswith("bias")
        else _draw_values(name, shape, 1.0, NORM_STD)
    )


def _draw_values(name: str, shape: tuple[int, ...], mean: float, std: float) -> np.ndarray:
    """Numbers that both bf16 and fp16 hold exactly: no engine rounds them when it loads them.

    Uniform, since that takes no libm, whose last bits differ between platforms; from RandomState,
    since numpy promises never to change its stream.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    drawn = np.random.RandomState(seed).random_sample(shape)
    return round_to_representable(mean + std * math.sqrt(12) * (drawn - 0.5))


def round_to_representable(numbers: np.ndarray) -> np.ndarray:
    """float32: the nearest bf16 numbers (ties away from zero), the smallest of them as zero."""
    bits = numbers.astype(np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.abs(rounded) < MIN_ABS_VALUE, np.float32(0), rounded)
