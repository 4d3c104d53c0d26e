"""What the tests of the real engines ask, and how they compare two answers."""

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
PICTURE = {"image": {"pattern": "gradient", "size": [112, 84]}}
OTHER_IMAGE = {"image": {"pattern": "checkerboard", "size": [84, 168]}}
CLIP = {"video": {"pattern": "checkerboard", "size": [112, 84], "frames": 4, "fps": 2.0}}
CLOSE = 6e-5
"""Log-probabilities no further apart than this are the same in float32: four times the largest distance
of transformers' own float32 from its float64 on the synthetic checkpoints, see docs/noise.md."""
QUESTION = {"text": "What is it?"}
CONTINUATION = (11, 7, 2024, 151645, 5)
"""Tokens that no synthetic model would choose."""


def make_request(*parts: Any) -> Request:
    """One turn of the user."""
    message = {"role": "user", "content": list(parts)}
    case = Case.model_validate({"name": "case", "summary": "a test", "messages": [message]})
    return Request(case, load_media(case))


def capture_tower_inputs(media: tuple[CapturedMedium, ...] | None, modality: str) -> np.ndarray:
    """The pixels of all media of a modality, one behind the other."""
    return np.concatenate([m.arrays["pixel_values"] for m in media or () if m.modality == modality])


@contextmanager
def record_tower_calls(tower: Any) -> Iterator[list[np.ndarray]]:
    """Collects what the first layer of a vision tower is given while the block runs."""
    seen: list[np.ndarray] = []
    hook = tower.patch_embed.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy().copy()))
    try:
        yield seen
    finally:
        hook.remove()


def compute_max_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference of log-softmax."""
    assert a.shape == b.shape
    found = compute_logit_distances(
        lambda start, stop: a[start:stop], lambda start, stop: b[start:stop], *a.shape
    )
    return float(found.max_abs.max())
