"""vLLM's real engine in a batch, in chunks and from its prefix cache: each happens, and answers alike."""

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
    TEXT_PART,
    VOCABULARY,
    compute_max_distance,
    make_request,
)

pytest.importorskip("vllm")

from vlm_parity.backends.base import Request, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.capture_extension import Recorder
from vlm_parity.models.build import build_checkpoint
from vlm_parity.util.errors import ModeNotApplicableError

TEXT = make_request({"text": "One, two, three, four, five, six, seven, eight, nine, ten, eleven: " * 2})
IMAGES = make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, TEXT_PART)
REQUESTS = {"text": TEXT, "images": IMAGES, "video": make_request(VIDEO_PART, TEXT_PART)}
SAME_SIZE = {"image": {"pattern": "checkerboard", "size": IMAGE_PART["image"]["size"]}}

for_each_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def loaded(mode: str) -> VllmBackend:
    backend = VllmBackend(Settings(max_length=1024, mode=mode))
    backend.load(build_checkpoint("qwen2_vl"))
    return backend


@pytest.fixture(scope="module")
def batched() -> VllmBackend:
    return loaded("batched")


@pytest.fixture(scope="module")
def chunked() -> VllmBackend:
    return loaded("chunked")


@pytest.fixture(scope="module")
def cached() -> VllmBackend:
    return loaded("cached")


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen2_vl"))
    yield backend
    backend.close()


def agrees(engine: VllmBackend, reference: TransformersBackend, request: Request) -> tuple[str, int]:
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
    assert ours.embeddings is not None
    assert len(ours.embeddings) == len(ours.prefill)
    return ours.mode_note, ours.cached_tokens


@for_each_request
def test_a_request_in_a_batch_answers_as_alone(
    batched: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, cached = agrees(batched, reference, request_)
    assert ran == "3 requests in each of 5 steps"
    assert cached == 0


def test_without_others_it_was_no_batch(batched: VllmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched._generator, "_companions", [])
    with pytest.raises(RuntimeError, match=r"the steps held \[1, 1, 1, 1, 1\] requests"):
        batched.outputs(batched.inputs(TEXT), CONTINUATION, 1)


@for_each_request
def test_a_request_in_chunks_answers_as_in_one_piece(
    chunked: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, _ = agrees(chunked, reference, request_)
    assert ran.startswith("the prompt cut at 9, 18, 27")
    assert "; split: " in ran or not request_.media


def test_the_row_before_a_cut_is_not_the_samplers(
    chunked: VllmBackend, reference: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sampler would read of a step that ends before the prompt does is nobody's answer."""
    take = Recorder._add_logits

    def spoilt(self: Recorder, hidden: object, sampled: object, first: int) -> None:
        garbage = first + len(hidden) < self._prompt  # type: ignore[arg-type]
        take(self, hidden, sampled * float("nan") if garbage else sampled, first)  # type: ignore[operator, arg-type]

    monkeypatch.setattr(Recorder, "_add_logits", spoilt)
    agrees(chunked, reference, IMAGES)


@for_each_request
def test_a_cached_request_answers_as_a_new_one(
    cached: VllmBackend, reference: TransformersBackend, request_: Request
) -> None:
    ran, count = agrees(cached, reference, request_)
    assert count > 0
    assert count % 32 == 0
    assert (
        ran == f"{count} of {len(cached.inputs(request_).input_ids)} prompt positions from the prefix cache"
    )


def test_another_picture_of_the_same_size_is_not_taken_from_the_cache(
    cached: VllmBackend, reference: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids are the same; only what vLLM knows of the pictures' content keeps them apart."""
    one, other = make_request(IMAGE_PART, TEXT_PART), make_request(SAME_SIZE, TEXT_PART)
    assert cached.inputs(one).input_ids == cached.inputs(other).input_ids
    agrees(cached, reference, one)
    monkeypatch.setattr(cached._generator._llm, "reset_prefix_cache", lambda: True)
    agrees(cached, reference, other)


def test_a_prompt_below_a_block_is_not_compared(cached: VllmBackend) -> None:
    with pytest.raises(ModeNotApplicableError, match="fills no block of 32"):
        cached.outputs(cached.inputs(make_request({"text": "Hi"})), CONTINUATION, 1)


def test_a_cache_that_gives_nothing_is_an_error(cached: VllmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached._engine.reset_prefix_cache()
    monkeypatch.setattr(cached._generator, "_fill_cache", lambda _: None)
    with pytest.raises(RuntimeError, match="nothing came from the prefix cache"):
        cached.outputs(cached.inputs(IMAGES), CONTINUATION, 1)


def test_a_prompt_that_was_not_seen_is_not_taken_for_a_cached_one(
    cached: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(len(CONTINUATION)))
    record = Recorder.record
    monkeypatch.setattr(Recorder, "record", lambda self: record(self) if next(steps) else None)
    with pytest.raises(RuntimeError, match=r"less \d+ cached ones were to be run, but"):
        cached.outputs(cached.inputs(IMAGES), CONTINUATION, 1)
