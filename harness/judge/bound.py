"""The one place that says how far logits may be apart and still count as a match."""

from __future__ import annotations

from dataclasses import dataclass

FLOORS = {"float32": 1.5e-5, "float16": 8.0e-3, "bfloat16": 6.4e-2}
"""By dtype: the largest absolute difference of log-softmax that transformers itself shows against
its own float64 run of the same weights, full vocabulary, eager and SDPA attention, transformers 5.19
on a CPU. float32: over the embedded cases of the three Qwen checkpoints (9.9e-6, 1.5e-5, 1.1e-5);
float16 and bfloat16: over one image prompt of two of them."""

MARGIN = 4
"""Both sides move by the floor, so twice the floor is to be expected; twice that again leaves room
for other kernels and other pictures. The smallest real fault measured in float32, a vision
activation of another approximation, moves log-probabilities by 1.3e-3: 22 times the bound."""


@dataclass(frozen=True)
class Bound:
    """The largest difference that counts as a match, with its source."""

    max_abs: float
    source: str


def bound_for(dtype: str) -> Bound:
    """The bound for an engine that runs in ``dtype``.

    It is the same for every model and backend, and no present output of an engine went into it.
    """
    floor = FLOORS[dtype]
    return Bound(MARGIN * floor, f"{MARGIN} x {floor:g}, transformers' own distance from float64 in {dtype}")


VISION_FLOORS = {"float32": 5.3e-6, "float16": 5.1e-3, "bfloat16": 4.9e-2}
"""By dtype: the largest difference between the features that transformers merges into the sequence and
its own float64 ones, relative to their root mean square; eager and SDPA attention, transformers 5.19
on a CPU. float32: over the embedded cases of the three Qwen checkpoints (3.7e-6, 5.0e-6, 5.3e-6);
float16 and bfloat16: over two images and a video of each."""


def vision_bound(dtype: str) -> Bound:
    """The bound for features, relative to the root mean square of the reference's."""
    floor = VISION_FLOORS[dtype]
    return Bound(MARGIN * floor, f"{MARGIN} x {floor:g}, transformers' own distance from float64 in {dtype}")
