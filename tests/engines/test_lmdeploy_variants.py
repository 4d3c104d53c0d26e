"""LMDeploy's real engine in a batch, in pieces and from its prefix cache: each happens, and answers alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.requests import (
    VIDEO_PART,
    MAX_DISTANCE,
    CONTINUATION,
    OTHER_IMAGE_PART,
    IMAGE_PART,
    VOCABULARY,
    compute_max_distance,
    make_request,
)

pytest.importorskip("lmdeploy")

from vlm_parity.backends.base import Request, Settings
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.util.errors import EngineError, ModeNotApplicableError, UnsupportedError

TEXT = make_request({"text": "One, two, three, four, five, six, seven, eight, nine, ten, eleven: " * 2})
IMAGES = make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, {"text": "Both? " * 20})
REQUESTS = {"text": TEXT, "images": IMAGES, "video": make_request(VIDEO_PART, {"text": "What is it? " * 8})}
SAME_SIZE = {"image": {"pattern": "checkerboard", "size": IMAGE_PART["image"]["size"]}}

for_each_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def loaded(mode: str, family: str = "qwen3_vl") -> LmdeployBackend:
    backend = LmdeployBackend(Settings(max_length=1024, mode=mode))
    backend.load(build_checkpoint(family))
    return backend


@pytest.fixture(scope="module")
def batched() -> Iterator[LmdeployBackend]:
    backend = loaded("batched")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def chunked() -> Iterator[LmdeployBackend]:
    backend = loaded("chunked")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def cached() -> Iterator[LmdeployBackend]:
    backend = loaded("cached")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen3_vl"))
    yield backend
    backend.close()


def agrees(engine: LmdeployBackend, reference: TransformersBackend, request: Request) -> tuple[str, int]:
    """Compares all that the engine ran; returns how it ran, and how much was cached."""
    ours = engine.outputs(engine.inputs(request), CONTINUATION, 6)
    inputs = reference.inputs(request)
    theirs = reference.outputs(inputs, CONTINUATION, 6)
    assert ours.prefill is not None
    assert theirs.prefill is not None
    assert ours.prefill.shape == (len(inputs.input_ids) - ours.cached_tokens, VOCABULARY)
    assert compute_max_distance(ours.prefill, theirs.prefill[ours.cached_tokens :]) < MAX_DISTANCE
    assert compute_max_distance(ours.decode, theirs.decode) < MAX_DISTANCE
    assert ours.greedy == theirs.greedy
    assert inputs.positions is not None
    np.testing.assert_array_equal(ours.positions, inputs.positions[:, ours.cached_tokens :])
    return ours.mode_note, ours.cached_tokens


@for_each_request
def test_a_request_in_a_batch_answers_as_alone(
    batched: LmdeployBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, cached = agrees(batched, reference, request_)
    assert ran.endswith("in the prompt's step; 3 requests in each of 4 steps")
    assert cached == 0


def test_without_others_it_was_no_batch(batched: LmdeployBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched._generator, "_companions", ())
    with pytest.raises(RuntimeError, match=r"the steps held \[1, 1, 1, 1\] requests"):
        batched.outputs(batched.inputs(TEXT), CONTINUATION, 1)


@for_each_request
def test_a_request_in_pieces_answers_as_in_one(
    chunked: LmdeployBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, _ = agrees(chunked, reference, request_)
    assert ran.startswith("the prompt cut at ")


def test_a_picture_in_a_prompt_in_pieces_is_not_cut(chunked: LmdeployBackend) -> None:
    inputs = chunked.inputs(IMAGES)
    outputs = chunked.outputs(inputs, CONTINUATION, 1)
    assert outputs.mode_note.endswith("; split: no medium")
    assert outputs.embeddings is not None
    embedded = [position for span in inputs.spans or () for position in span.positions]
    assert np.isfinite(outputs.embeddings[embedded]).all()


def test_a_token_is_asked_for_after_each_piece(chunked: LmdeployBackend) -> None:
    """Why ``forced_logits`` has to know whether the prompt has been run."""
    inputs = chunked.inputs(TEXT)
    with pytest.raises(EngineError, match="LMDeploy was to follow"):
        chunked._generator.compute_forced_logits(inputs.prepared, CONTINUATION)


def test_a_prompt_of_one_piece_is_not_compared(chunked: LmdeployBackend) -> None:
    with pytest.raises(ModeNotApplicableError, match="went in one piece"):
        chunked.outputs(chunked.inputs(make_request({"text": "Hi"})), CONTINUATION, 1)


@for_each_request
def test_a_cached_request_answers_as_a_new_one(
    cached: LmdeployBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, count = agrees(cached, reference, request_)
    assert count > 0
    assert count % 16 == 0
    assert (
        ran == f"{count} of {len(cached.inputs(request_).input_ids)} prompt positions from the prefix cache"
    )


def test_another_picture_of_the_same_size_is_not_taken_from_the_cache(
    cached: LmdeployBackend, reference: TransformersBackend
) -> None:
    """Their ids are the same; only what LMDeploy knows of the pictures' content keeps them apart."""
    words = {"text": "What is it? " * 12}
    one, other = make_request(IMAGE_PART, words), make_request(SAME_SIZE, words)
    assert cached.inputs(one).input_ids == cached.inputs(other).input_ids
    _, count = agrees(cached, reference, one)
    (span,) = cached.inputs(one).spans or ()
    assert count > span.offset + span.length
    agrees(cached, reference, other)


def test_a_prompt_below_a_block_is_not_compared(cached: LmdeployBackend) -> None:
    with pytest.raises(ModeNotApplicableError, match="fills no block of 16"):
        cached.outputs(cached.inputs(make_request({"text": "Hi"})), CONTINUATION, 1)


def test_pictures_that_hold_the_end_of_every_block_are_not_compared(cached: LmdeployBackend) -> None:
    with pytest.raises(ModeNotApplicableError, match="every block of 16 ends inside a medium"):
        cached.outputs(cached.inputs(make_request(IMAGE_PART, IMAGE_PART, {"text": "?"})), CONTINUATION, 1)


def test_a_family_whose_media_are_not_cached_is_refused_in_the_engines_words() -> None:
    with pytest.raises(UnsupportedError, match=r"^Prefix caching is disabled for this VL model path"):
        loaded("cached", "qwen2_vl")
