"""The one place that says how far logits may be apart and still count as a match."""

from __future__ import annotations

from dataclasses import dataclass

FLOORS = {"float32": 7e-6, "float16": 8.0e-3, "bfloat16": 6.4e-2}
"""By dtype: the largest absolute difference of log-softmax that transformers itself shows against
its own float64 run of the same weights (tiny checkpoints with scaled weights, full vocabulary,
eager and SDPA attention, transformers 5.19 on a CPU). Engines known to be good lie 2e-6 to 5e-6
from transformers in float32."""

MARGIN = 4
"""Both sides move by the floor, so twice the floor is to be expected; twice that again leaves room
for other kernels and other pictures. The smallest real fault measured in float32, a vision
activation of another approximation, moves log-probabilities by 1.3e-3: 46 times the bound."""


@dataclass(frozen=True)
class Bound:
    """The largest absolute difference of log-softmax that counts as a match, with its source."""

    max_abs: float
    source: str


def bound_for(dtype: str) -> Bound:
    """The bound for an engine that runs in ``dtype``.

    It is the same for every model and backend, and no present output of an engine went into it.
    """
    floor = FLOORS[dtype]
    return Bound(MARGIN * floor, f"{MARGIN} x {floor:g}, transformers' own distance from float64 in {dtype}")
