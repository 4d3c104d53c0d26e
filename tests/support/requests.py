"""Requests for the tests of the real engines, and comparison of their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vlm_parity.backends.base import CapturedMedium, Request
from vlm_parity.diff.logit_distance import compute_logit_distances
from vlm_parity.media.load import load_media
from vlm_parity.schema.case import Case

VOCABULARY = 151936
"""Size of the vocabulary of the default families."""
TEXT_PART = {"text": "What is it?"}
IMAGE_PART: dict[str, Any] = {"image": {"pattern": "gradient", "size": [112, 84]}}
OTHER_IMAGE_PART: dict[str, Any] = {"image": {"pattern": "checkerboard", "size": [84, 168]}}
VIDEO_PART: dict[str, Any] = {
    "video": {"pattern": "checkerboard", "size": [112, 84], "frames": 4, "fps": 2.0}
}
OTHER_VIDEO_PART: dict[str, Any] = {
    "video": {"pattern": "gradient", "size": [84, 112], "frames": 7, "fps": 2.0}
}
CONTINUATION = (11, 7, 2024, 151645, 5)
"""Ids that no synthetic model would generate."""
MAX_DISTANCE = 6e-5
"""Maximum distance of equal log-probabilities in float32: four times the largest distance between
transformers' own float32 and float64 on the synthetic checkpoints, see docs/explanations/noise_floor.md."""


def make_request(*parts: dict[str, Any]) -> Request:
    """Return a request of one user message."""
    message = {"role": "user", "content": list(parts)}
    case = Case.model_validate({"name": "case", "summary": "a test", "messages": [message]})
    return Request(case, load_media(case))


def join_pixel_values(media: tuple[CapturedMedium, ...] | None, modality: str) -> np.ndarray:
    """Return the pixel values of all media of a modality, one after the other."""
    return np.concatenate([m.arrays["pixel_values"] for m in media or () if m.modality == modality])


@contextmanager
def record_tower_inputs(tower: Any) -> Iterator[list[np.ndarray]]:
    """Collect the inputs of a vision tower's first layer while the block runs."""
    inputs: list[np.ndarray] = []
    hook = tower.patch_embed.register_forward_pre_hook(lambda _, args: inputs.append(args[0].numpy().copy()))
    try:
        yield inputs
    finally:
        hook.remove()


def compute_max_distance(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Return the largest absolute difference of log-softmax, of logits [rows, vocabulary]."""
    assert a is not None
    assert b is not None
    assert a.shape == b.shape
    distances = compute_logit_distances(
        lambda start, stop: a[start:stop], lambda start, stop: b[start:stop], *a.shape
    )
    return float(distances.max_abs.max())


def get_logits(logits: np.ndarray | None) -> np.ndarray:
    """Return logits that must not be None."""
    assert logits is not None
    return logits
