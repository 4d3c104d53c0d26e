"""The installed engine in its modes: each takes effect, and the outputs are those of the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    MAX_DISTANCE,
    OTHER_IMAGE_PART,
    VIDEO_PART,
    VOCABULARY,
    compute_max_distance,
    make_request,
)
from vlm_parity.backends.base import Backend, Request, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.engine_setup import BATCHED, CHUNKED_PREFILL, PREFIX_CACHED
from vlm_parity.selfcheck.vllm_model import leave_media_out_of_block_keys
from vlm_parity.util.errors import EngineError, ModeNotApplicableError, UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

FAMILY = {"vllm": "qwen2_vl", "lmdeploy": "qwen3_vl"}[ENGINE]
"""Of LMDeploy's families only those with the newer image processors have a prefix cache."""
BLOCK = {"vllm": 32, "lmdeploy": 16}[ENGINE]
"""Block size of the prefix cache, in positions."""
BATCH_NOTE = {
    "vllm": "3 requests in each of 5 steps",
    "lmdeploy": "in the prompt's step; 3 requests in each of 4 steps",
}[ENGINE]
"""End of the evidence: LMDeploy's describes the step of the prompt separately."""

SHORT_TEXT = make_request({"text": "Hi"})
TEXT = make_request({"text": "One, two, three, four, five, six, seven, eight, nine, ten, eleven: " * 2})
IMAGES = make_request(
    {"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, {"text": "Both? " * 20}
)
VIDEO = make_request(VIDEO_PART, {"text": "What is it? " * 8})
SAME_SIZE_PART = {"image": {"pattern": "checkerboard", "size": IMAGE_PART["image"]["size"]}}

for_each_request = pytest.mark.parametrize("request_", [TEXT, IMAGES, VIDEO], ids=["text", "images", "video"])
only_vllm = pytest.mark.skipif(ENGINE != "vllm", reason="internals of vLLM")
only_lmdeploy = pytest.mark.skipif(ENGINE != "lmdeploy", reason="internals or limits of LMDeploy")


def load_engine(mode: str, family: str = FAMILY) -> Any:
    """Return the loaded backend; typed as Any because the tests patch its internals."""
    backend = load_backend_class(ENGINE)(Settings(max_length=1024, mode=mode))
    backend.load(build_checkpoint(family))
    return backend


def yield_engine(mode: str) -> Iterator[Any]:
    backend = load_engine(mode)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def batched() -> Iterator[Any]:
    yield from yield_engine(BATCHED)


@pytest.fixture(scope="module")
def chunked() -> Iterator[Any]:
    yield from yield_engine(CHUNKED_PREFILL)


@pytest.fixture(scope="module")
def cached() -> Iterator[Any]:
    yield from yield_engine(PREFIX_CACHED)


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint(FAMILY))
    yield backend
    backend.close()


def compare(engine: Backend, reference: Backend, request: Request) -> tuple[str, int]:
    """Compare all outputs; return the evidence of the mode and the number of cached positions."""
    tested = engine.outputs(engine.inputs(request), CONTINUATION, 6)
    inputs = reference.inputs(request)
    expected = reference.outputs(inputs, CONTINUATION, 6)
    start = tested.cached_tokens
    assert tested.prefill is not None
    assert expected.prefill is not None
    assert tested.prefill.shape == (len(inputs.input_ids) - start, VOCABULARY)
    assert compute_max_distance(tested.prefill, expected.prefill[start:]) < MAX_DISTANCE
    assert compute_max_distance(tested.decode, expected.decode) < MAX_DISTANCE
    assert tested.greedy == expected.greedy
    assert tested.positions is not None
    assert inputs.positions is not None
    np.testing.assert_array_equal(tested.positions, inputs.positions[:, start:])
    if tested.embeddings is not None:
        assert len(tested.embeddings) == len(tested.prefill)
    else:
        assert ENGINE == "lmdeploy"  # it embeds prompts without media inside the model
    return tested.mode_note, start


@for_each_request
def test_a_request_in_a_batch_has_the_same_outputs(
    batched: Backend, reference: TransformersBackend, request_: Request
) -> None:
    mode_note, cached_tokens = compare(batched, reference, request_)
    assert mode_note.endswith(BATCH_NOTE)
    assert cached_tokens == 0


def test_a_request_without_companions_is_not_a_batch(batched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched._generator, "_companions", ())
    with pytest.raises(EngineError, match=r"the steps held \[1, 1, 1, 1(, 1)?\] requests"):
        batched.outputs(batched.inputs(TEXT), CONTINUATION, 1)


@for_each_request
def test_a_split_prompt_has_the_same_outputs(
    chunked: Backend, reference: TransformersBackend, request_: Request
) -> None:
    mode_note, _ = compare(chunked, reference, request_)
    assert mode_note.startswith("prompt split at ")
    if ENGINE == "vllm":
        assert mode_note.startswith("prompt split at 9, 18, 27")
        assert "; split media: " in mode_note or not request_.media


@only_lmdeploy
def test_lmdeploy_does_not_split_an_image(chunked: Backend) -> None:
    inputs = chunked.inputs(IMAGES)
    outputs = chunked.outputs(inputs, CONTINUATION, 1)
    assert outputs.mode_note.endswith("; split media: none")
    assert outputs.embeddings is not None
    embedded = [position for span in inputs.spans or () for position in span.positions]
    assert np.isfinite(outputs.embeddings[embedded]).all()


@only_lmdeploy
def test_lmdeploy_samples_an_id_after_each_piece(chunked: Any) -> None:
    """This is the reason for the argument ``is_prompt_complete`` of ``compute_forced_logits``."""
    inputs = chunked.inputs(TEXT)
    with pytest.raises(EngineError, match=r"forced along .* LMDeploy generated"):
        chunked._generator.compute_forced_logits(inputs.prepared, CONTINUATION)


@only_lmdeploy
def test_the_mode_is_not_applicable_to_a_prompt_of_one_piece(chunked: Backend) -> None:
    with pytest.raises(ModeNotApplicableError, match="was not split"):
        chunked.outputs(chunked.inputs(SHORT_TEXT), CONTINUATION, 1)


@only_vllm
def test_the_row_before_a_split_is_not_that_of_the_sampler(
    chunked: Backend, reference: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that the sampler reads in a step that ends before the prompt does is replaced by NaN."""
    from vlm_parity.backends.vllm.capture_extension import Recorder

    add_logits: Callable[..., None] = Recorder._add_logits

    def add_spoiled_logits(self: Recorder, hidden: Any, sampled: Any, first: int) -> None:
        is_discarded = first + len(hidden) < self._prompt
        add_logits(self, hidden, sampled * float("nan") if is_discarded else sampled, first)

    monkeypatch.setattr(Recorder, "_add_logits", add_spoiled_logits)
    compare(chunked, reference, IMAGES)


@for_each_request
def test_a_cached_prompt_has_the_same_outputs(
    cached: Backend, reference: TransformersBackend, request_: Request
) -> None:
    mode_note, count = compare(cached, reference, request_)
    assert count > 0
    assert count % BLOCK == 0
    length = len(cached.inputs(request_).input_ids)
    others = ", which also held the same conversation with other media" if request_.media else ""
    assert mode_note == f"{count} of {length} prompt positions from the prefix cache{others}"


@only_vllm
def test_a_cache_keyed_without_the_media_is_found(cached: Backend, reference: TransformersBackend) -> None:
    request = make_request(IMAGE_PART, {"text": "What is it? " * 12})
    with leave_media_out_of_block_keys(cached), pytest.raises(AssertionError):
        compare(cached, reference, request)
    compare(cached, reference, request)


def test_a_different_image_of_the_same_size_is_not_read_from_the_cache(
    cached: Any, reference: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids are equal; the engine distinguishes the images by their content."""
    text = {"text": "What is it? " * 12}
    first, second = make_request(IMAGE_PART, text), make_request(SAME_SIZE_PART, text)
    assert cached.inputs(first).input_ids == cached.inputs(second).input_ids
    _, count = compare(cached, reference, first)
    (span,) = cached.inputs(first).spans
    assert count > span.offset + span.length
    if ENGINE == "vllm":
        monkeypatch.setattr(cached._generator._llm, "reset_prefix_cache", lambda: True)
    compare(cached, reference, second)


def test_the_mode_is_not_applicable_to_a_prompt_below_a_block(cached: Backend) -> None:
    with pytest.raises(ModeNotApplicableError, match=f"fill no block of {BLOCK}"):
        cached.outputs(cached.inputs(SHORT_TEXT), CONTINUATION, 1)


@only_lmdeploy
def test_the_mode_is_not_applicable_if_every_block_ends_inside_an_image(cached: Backend) -> None:
    with pytest.raises(ModeNotApplicableError, match="every block of 16 ends inside a medium"):
        cached.outputs(cached.inputs(make_request(IMAGE_PART, IMAGE_PART, {"text": "?"})), CONTINUATION, 1)


@only_lmdeploy
def test_a_family_without_a_prefix_cache_is_refused_with_the_message_of_the_engine() -> None:
    with pytest.raises(UnsupportedError, match=r"^Prefix caching is disabled for this VL model path"):
        load_engine(PREFIX_CACHED, "qwen2_vl")


@only_vllm
def test_an_empty_cache_is_an_error(cached: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached._engine.reset_prefix_cache()
    monkeypatch.setattr(cached._generator, "_fill_cache", lambda _: None)
    with pytest.raises(EngineError, match="nothing came from the prefix cache"):
        cached.outputs(cached.inputs(IMAGES), CONTINUATION, 1)


@only_vllm
def test_a_prompt_that_was_not_recorded_does_not_count_as_cached(
    cached: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlm_parity.backends.vllm.capture_extension import Recorder

    steps = iter(range(len(CONTINUATION)))
    record = Recorder.record
    monkeypatch.setattr(Recorder, "record", lambda self: record(self) if next(steps) else None)
    with pytest.raises(EngineError, match=r"\d+ of them cached, but vLLM's worker ran"):
        cached.outputs(cached.inputs(IMAGES), CONTINUATION, 1)
