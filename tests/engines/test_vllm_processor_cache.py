"""vLLM with its processor cache on: what the harness captures is what it captures without the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.frontends import LoadFrontend
from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    OTHER_IMAGE_PART,
    TEXT_PART,
    VIDEO_PART,
    get_logits,
    make_request,
)

pytest.importorskip("vllm")

from vlm_parity.backends.base import Inputs, Settings
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.engine_setup import Depth

REQUESTS = (
    make_request(IMAGE_PART, TEXT_PART),
    make_request(OTHER_IMAGE_PART, IMAGE_PART, OTHER_IMAGE_PART, TEXT_PART),
    make_request(VIDEO_PART, OTHER_IMAGE_PART, TEXT_PART),
    make_request(TEXT_PART),
    make_request(IMAGE_PART, TEXT_PART),
    make_request(VIDEO_PART, TEXT_PART),
)
"""Media of earlier requests come back, alone and next to others, and twice in one request."""


def load(depth: Depth, **engine_args: Any) -> VllmBackend:
    backend = VllmBackend(Settings(depth=depth, max_length=1024, engine_args=engine_args))
    backend.load(build_checkpoint("qwen2_vl"))
    return backend


def list_arrays(inputs: Inputs) -> list[tuple[Any, ...]]:
    """Return all that the tower receives, and the positions if they are known."""
    media = [
        (medium.modality, medium.item, dict(medium.fields), name, array.tobytes())
        for medium in inputs.media or ()
        for name, array in medium.arrays.items()
    ]
    return [*media, (None if inputs.positions is None else inputs.positions.tobytes(),)]


@pytest.fixture(scope="module")
def expected(load_frontend: LoadFrontend) -> list[list[tuple[Any, ...]]]:
    """Return the captured inputs without the cache."""
    backend = load_frontend("vllm", "qwen2_vl")
    return [list_arrays(backend.inputs(request)) for request in REQUESTS]


@pytest.mark.parametrize("kind", ["lru", "shm"])
def test_media_from_the_cache_are_those_without_it(expected: list[list[tuple[Any, ...]]], kind: str) -> None:
    backend = load(Depth.TOKENS, mm_processor_cache_gb=0.05, mm_processor_cache_type=kind)
    cache = backend._renderer.mm_processor_cache
    assert cache is not None
    captured = [list_arrays(backend.inputs(request)) for request in REQUESTS]
    assert captured == expected
    assert cache.make_stats().hits > 0
    cache.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmBackend]:
    backend = load(Depth.LOGITS, mm_processor_cache_gb=0.05)
    yield backend
    backend.close()


def test_an_engine_takes_media_from_its_half_of_the_cache(engine: VllmBackend) -> None:
    first, *_, again, _ = REQUESTS
    outputs = []
    for request in (first, again):
        inputs = engine.inputs(request)
        outputs.append(engine.outputs(inputs, CONTINUATION, 4))
    assert inputs.prepared["mm_kwargs"]["image"][0] is None  # vLLM sends the reference only
    np.testing.assert_array_equal(get_logits(outputs[0].prefill), get_logits(outputs[1].prefill))
    np.testing.assert_array_equal(outputs[0].embeddings, outputs[1].embeddings)


def test_a_medium_that_never_reached_the_engine_is_sent_again(engine: VllmBackend) -> None:
    request = make_request({"image": {"pattern": "gradient", "size": [84, 84]}}, TEXT_PART)
    engine.inputs(request)  # as a case that goes no deeper than its tokens
    inputs = engine.inputs(request)
    assert inputs.prepared["mm_kwargs"]["image"][0] is not None
    assert engine.outputs(inputs, CONTINUATION, 2).prefill is not None
