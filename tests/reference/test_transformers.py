"""The reference on synthetic checkpoints: its own computations agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    MAX_DISTANCE,
    OTHER_IMAGE_PART,
    TEXT_PART,
    VIDEO_PART,
    VOCABULARY,
    compute_max_distance,
    get_logits,
    join_pixel_values,
    make_request,
    record_tower_inputs,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from vlm_parity.backends.base import Inputs, Outputs, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.transformers.float64_mode import Float64Mode
from vlm_parity.backends.transformers.model import TransformersModel
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES

IMAGE_PAD, VIDEO_PAD = 151655, 151656


def append_tokens(inputs: Inputs, tokens: tuple[int, ...]) -> Inputs:
    """Return the request with further text ids at its end, which the other tensors mark as text."""
    prepared = type(inputs.prepared)(dict(inputs.prepared))
    length = len(inputs.input_ids)
    fill = {"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens)).long()}
    for name, tensor in inputs.prepared.items():
        if tensor.shape == (1, length):
            more = fill.get(name, torch.zeros(1, len(tokens)).long())
            prepared[name] = torch.cat([tensor, more], dim=1)
    return replace(inputs, input_ids=inputs.input_ids + tokens, prepared=prepared)


@pytest.fixture(scope="module", params=DEFAULT_FAMILIES)
def reference(request: pytest.FixtureRequest) -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint(request.param))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def inputs(reference: TransformersBackend) -> Inputs:
    return reference.inputs(make_request(IMAGE_PART, VIDEO_PART, TEXT_PART))


@pytest.fixture(scope="module")
def outputs(reference: TransformersBackend, inputs: Inputs) -> Outputs:
    return reference.outputs(inputs, None, 6)


def test_without_a_continuation_it_follows_its_own_greedy_ids(inputs: Inputs, outputs: Outputs) -> None:
    prefill, decode = get_logits(outputs.prefill), get_logits(outputs.decode)
    assert prefill.shape == (len(inputs.input_ids), VOCABULARY)
    assert decode.shape == (5, VOCABULARY)
    assert prefill.dtype == decode.dtype == np.float32
    assert outputs.continuation == outputs.greedy
    rows = np.concatenate([prefill[-1:], decode])
    assert tuple(rows.argmax(-1).tolist()) == outputs.greedy


def test_generation_starts_from_the_last_prompt_row(
    reference: TransformersBackend, inputs: Inputs, outputs: Outputs
) -> None:
    with torch.inference_mode():
        _, rows, _ = reference._own._generate(inputs.prepared, 1)
    assert compute_max_distance(get_logits(outputs.prefill)[-1:], rows.numpy()) < MAX_DISTANCE


def test_samples_compute_the_same_in_different_ways(
    reference: TransformersBackend, inputs: Inputs, outputs: Outputs
) -> None:
    samples = dict(reference.samples(inputs, outputs.continuation, "float32"))
    own = f"{reference._own.attention}, alone"
    assert set(samples) == {"eager, alone", "sdpa, alone"} - {own}  # the reference's own outputs
    for sample in samples.values():
        assert sample.continuation == outputs.continuation
        assert compute_max_distance(sample.prefill, outputs.prefill) < MAX_DISTANCE
        assert compute_max_distance(sample.decode, outputs.decode) < MAX_DISTANCE
    other = "eager" if reference._own.attention == "sdpa" else "sdpa"
    assert compute_max_distance(samples[f"{other}, alone"].prefill, outputs.prefill) > 0


def test_a_batch_on_a_cpu_is_no_further_sample(
    reference: TransformersBackend, inputs: Inputs, outputs: Outputs
) -> None:
    alone, batch = (reference._own.run(inputs.prepared, outputs.continuation, 0, copies) for copies in (1, 2))
    assert np.array_equal(get_logits(batch.prefill), get_logits(alone.prefill))
    assert batch.embeddings is not None
    assert alone.embeddings is not None
    assert np.array_equal(batch.embeddings, alone.embeddings)


def test_samples_in_a_lower_precision_have_more_noise(
    reference: TransformersBackend, inputs: Inputs, outputs: Outputs
) -> None:
    for _, sample in reference.samples(inputs, outputs.continuation, "bfloat16"):
        assert 100 * MAX_DISTANCE < compute_max_distance(sample.prefill, outputs.prefill) < 1


def test_a_float64_run_has_no_float32_in_it() -> None:
    with Float64Mode():
        assert torch.ones(2, dtype=torch.float32).dtype is torch.float64
        assert torch.ones(2, dtype=torch.bfloat16).float().dtype is torch.float64
        assert torch.ones(2, dtype=torch.float64).to(torch.float32).dtype is torch.float64
        assert torch.ones(2, dtype=torch.bfloat16).softmax(0, dtype=torch.float32).dtype is torch.float64
    assert torch.ones(2).float().dtype is torch.float32


def test_seconds_keep_their_precision() -> None:
    seconds = torch.tensor([1 / 7], dtype=torch.float32)
    pixels = torch.ones(2, 3)
    model: Any = TransformersModel.__new__(TransformersModel)
    model._dtype, model._device, model._family = torch.bfloat16, "cpu", None
    assert model._repeat_input("seconds", seconds, 1).dtype is torch.float32
    assert model._repeat_input("pixels", pixels, 1).dtype is torch.bfloat16


def test_forced_rows_are_those_of_a_longer_prompt(reference: TransformersBackend, inputs: Inputs) -> None:
    forced = reference.outputs(inputs, CONTINUATION, 2)
    longer = reference.outputs(append_tokens(inputs, CONTINUATION[:-1]), None, 2)
    assert forced.continuation == CONTINUATION
    assert forced.greedy != CONTINUATION[:2]
    rows = np.concatenate([get_logits(forced.prefill), get_logits(forced.decode)])
    assert compute_max_distance(rows, longer.prefill) < MAX_DISTANCE


def test_a_repetition_has_the_same_outputs(
    reference: TransformersBackend, inputs: Inputs, outputs: Outputs
) -> None:
    again = reference.outputs(inputs, None, 6)
    assert again.greedy == outputs.greedy
    np.testing.assert_array_equal(get_logits(again.prefill), get_logits(outputs.prefill))
    np.testing.assert_array_equal(get_logits(again.decode), get_logits(outputs.decode))


def test_media_change_the_outputs(reference: TransformersBackend, inputs: Inputs, outputs: Outputs) -> None:
    darker = type(inputs.prepared)({**inputs.prepared, "pixel_values": inputs.prepared["pixel_values"] / 2})
    changed = reference.outputs(replace(inputs, prepared=darker), None, 2)
    assert compute_max_distance(changed.prefill, outputs.prefill) > MAX_DISTANCE


def test_one_new_token_has_no_decode_row(reference: TransformersBackend) -> None:
    outputs = reference.outputs(reference.inputs(make_request(TEXT_PART)), None, 1)
    assert get_logits(outputs.decode).shape == (0, VOCABULARY)
    assert len(outputs.greedy) == 1


def test_spans_hold_all_placeholders_in_the_order_of_the_prompt(reference: TransformersBackend) -> None:
    inputs = reference.inputs(
        make_request(IMAGE_PART, VIDEO_PART, {"text": "and"}, OTHER_IMAGE_PART, TEXT_PART)
    )
    assert inputs.spans is not None
    assert [(span.modality, span.item) for span in inputs.spans] == [("image", 0), ("video", 0), ("image", 1)]
    for modality, placeholder in (("image", IMAGE_PAD), ("video", VIDEO_PAD)):
        runs = [run for span in inputs.spans if span.modality == modality for run in span.runs]
        embedded = [position for run in runs for position in range(*run)]
        assert embedded == [index for index, token in enumerate(inputs.input_ids) if token == placeholder]


def test_an_image_has_one_run_of_a_fourth_of_its_patches(reference: TransformersBackend) -> None:
    inputs = reference.inputs(make_request(IMAGE_PART, TEXT_PART))
    assert inputs.spans is not None
    (span,) = inputs.spans
    assert len(span.runs) == 1
    assert span.length == span.embedded == int(inputs.prepared["image_grid_thw"].prod()) // 4


def test_captured_media_are_the_inputs_of_the_tower(reference: TransformersBackend) -> None:
    inputs = reference.inputs(
        make_request(OTHER_IMAGE_PART, VIDEO_PART, IMAGE_PART, {"text": "and"}, VIDEO_PART, TEXT_PART)
    )
    assert inputs.media is not None
    assert inputs.spans is not None
    assert [(m.modality, m.item) for m in inputs.media] == [(s.modality, s.item) for s in inputs.spans]
    with record_tower_inputs(reference._model.base_model.visual) as tower_inputs:
        reference.outputs(inputs, None, 1)
    captured = [join_pixel_values(inputs.media, modality) for modality in ("image", "video")]
    assert len(tower_inputs) == 4, "images and videos, once for all positions and once to generate"
    for index, pixel_values in enumerate(tower_inputs):
        np.testing.assert_array_equal(pixel_values, captured[index % 2])
    counts = [int(np.prod(medium.fields["grid"])) for medium in inputs.media]
    assert [len(medium.arrays["pixel_values"]) for medium in inputs.media] == counts


def test_a_video_is_split_by_timestamps_in_qwen3_vl_only(reference: TransformersBackend) -> None:
    inputs = reference.inputs(make_request(VIDEO_PART, TEXT_PART))
    assert inputs.spans is not None
    (span,) = inputs.spans
    steps = int(inputs.prepared["video_grid_thw"][0, 0])
    assert steps == 2
    split = reference._family is not None and reference._family.name == "qwen3_vl"
    assert len(span.runs) == (steps if split else 1)


def test_text_has_no_spans(reference: TransformersBackend) -> None:
    assert reference.inputs(make_request(TEXT_PART)).spans == ()
