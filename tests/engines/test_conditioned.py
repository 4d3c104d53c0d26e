"""The installed engine on values of the reference; its own are back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.support.reference_values import NEW_TOKENS, compute_reference_values
from tests.support.requests import (
    CONTINUATION,
    IMAGE_PART,
    MAX_DISTANCE,
    OTHER_IMAGE_PART,
    TEXT_PART,
    VIDEO_PART,
    compute_max_distance,
    make_request,
)
from vlm_parity.backends.base import Inputs, Outputs, ReferenceValues, Request, Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.capture.conditioned import check_given, check_given_inputs
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import PREFIX_CACHED, Depth
from vlm_parity.util.errors import UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

FAMILY = "qwen3_vl"
"""It has positions in three axes, and deep features."""
MEDIA, FEATURES = Condition.MEDIA, Condition.FEATURES
SAME_SIZE_PART = {"image": {"pattern": "checkerboard", "size": IMAGE_PART["image"]["size"]}}
TEXT = make_request({"text": "Name three colors."})
IMAGE = make_request(IMAGE_PART, TEXT_PART)
IMAGES = make_request({"text": "One: "}, IMAGE_PART, {"text": " two: "}, OTHER_IMAGE_PART, TEXT_PART)
VIDEO = make_request(VIDEO_PART, TEXT_PART)
for_each_request = pytest.mark.parametrize(
    "request_", [TEXT, IMAGE, IMAGES, VIDEO], ids=["text", "image", "images", "video"]
)
only_vllm = pytest.mark.skipif(ENGINE != "vllm", reason="LMDeploy cannot be given media")


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    backend = load_backend_class(ENGINE)(Settings(max_length=1024))
    backend.load(build_checkpoint(FAMILY))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint(FAMILY))
    yield backend
    backend.close()


def run_on(
    engine: Any, own: Request, values: ReferenceValues, condition: Condition
) -> tuple[Inputs, Outputs]:
    """Ask the engine one thing and give it the values of another."""
    with engine.condition(engine.inputs(own), condition, values) as inputs:
        outputs = engine.outputs(inputs, CONTINUATION, NEW_TOKENS)
    check_given(condition, values, inputs, outputs, "float32")
    return inputs, outputs


def assert_equal_outputs(tested: Outputs, expected: Outputs) -> None:
    assert compute_max_distance(tested.prefill, expected.prefill) < MAX_DISTANCE
    assert compute_max_distance(tested.decode, expected.decode) < MAX_DISTANCE
    assert tested.greedy == expected.greedy


@for_each_request
def test_the_language_model_runs_on_what_it_is_given(
    engine: Any, reference: TransformersBackend, request_: Request
) -> None:
    values, expected = compute_reference_values(reference, request_)
    _, outputs = run_on(engine, make_request({"text": "Something else?"}), values, FEATURES)
    assert_equal_outputs(outputs, expected)


def test_other_features_make_other_logits(engine: Any, reference: TransformersBackend) -> None:
    values, expected = compute_reference_values(reference, IMAGE)
    assert values.features is not None
    hidden = values.features.shape[1] // (1 + values.deep_levels)
    for columns in (slice(0, hidden), slice(hidden, None)):  # what is merged, and the deep features
        features = values.features.copy()
        features[:, columns] *= 1.05
        _, outputs = run_on(engine, IMAGE, replace(values, features=features), FEATURES)
        assert compute_max_distance(outputs.prefill, expected.prefill) > 100 * MAX_DISTANCE


def test_other_positions_make_other_logits(engine: Any, reference: TransformersBackend) -> None:
    values, expected = compute_reference_values(reference, IMAGE)
    positions = values.positions.copy()
    positions[1, values.spans[0].positions] += 1
    _, outputs = run_on(engine, IMAGE, replace(values, positions=positions), FEATURES)
    assert compute_max_distance(outputs.prefill, expected.prefill) > 100 * MAX_DISTANCE


@only_vllm
def test_decoding_goes_on_where_the_reference_does(engine: Any, reference: TransformersBackend) -> None:
    values, expected = compute_reference_values(reference, IMAGE)
    assert values.decode_positions is not None
    later = replace(values, decode_positions=values.decode_positions + 3)
    _, outputs = run_on(engine, IMAGE, later, FEATURES)
    assert compute_max_distance(outputs.prefill, expected.prefill) < MAX_DISTANCE
    assert compute_max_distance(outputs.decode, expected.decode) > 100 * MAX_DISTANCE


@pytest.mark.parametrize("condition", [FEATURES, pytest.param(MEDIA, marks=only_vllm)])
def test_afterwards_the_engine_runs_on_its_own_values(
    engine: Any, reference: TransformersBackend, condition: Condition
) -> None:
    own = make_request(SAME_SIZE_PART, TEXT_PART)
    inputs = engine.inputs(own)
    before = engine.outputs(inputs, CONTINUATION, NEW_TOKENS)
    values, _ = compute_reference_values(reference, IMAGE)
    run_on(engine, own, values, condition)
    after = engine.outputs(inputs, CONTINUATION, NEW_TOKENS)
    np.testing.assert_array_equal(before.prefill, after.prefill)
    assert before.greedy == after.greedy


@only_vllm
@pytest.mark.parametrize("part", [IMAGE_PART, VIDEO_PART], ids=["image", "video"])
def test_the_tower_runs_on_what_it_is_given(
    engine: Any, reference: TransformersBackend, part: dict[str, Any]
) -> None:
    values, expected = compute_reference_values(reference, make_request(part, TEXT_PART))
    (modality, recipe), *_ = part.items()
    other = {modality: {**recipe, "pattern": "checkerboard", "seed": 5}}
    inputs, outputs = run_on(engine, make_request(other, TEXT_PART), values, MEDIA)
    assert inputs.media is not None
    assert expected.embeddings is not None
    assert outputs.embeddings is not None
    scale = float(np.sqrt(np.square(expected.embeddings).mean()))
    np.testing.assert_allclose(outputs.embeddings, expected.embeddings, atol=scale * MAX_DISTANCE)
    assert_equal_outputs(outputs, expected)


@only_vllm
def test_media_cannot_be_given_to_other_places(engine: Any, reference: TransformersBackend) -> None:
    values, _ = compute_reference_values(reference, IMAGE)
    with pytest.raises(UnsupportedError, match="at the same places"):
        run_on(engine, IMAGES, values, MEDIA)


@pytest.fixture(scope="module")
def frontend() -> Iterator[Any]:
    """Load the front end at depth ``tokens``, of a family whose video spans have no text in them."""
    backend = load_backend_class(ENGINE)(Settings(max_length=1024, depth=Depth.TOKENS))
    backend.load(build_checkpoint("qwen2_vl"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def qwen2_vl() -> Iterator[TransformersBackend]:
    backend = TransformersBackend(Settings())
    backend.load(build_checkpoint("qwen2_vl"))
    yield backend
    backend.close()


@only_vllm
@for_each_request
def test_positions_follow_from_given_media_without_an_engine(
    frontend: Any, qwen2_vl: TransformersBackend, request_: Request
) -> None:
    values, _ = compute_reference_values(qwen2_vl, request_)
    text = {"text": "More words in front: "}
    longer = make_request(
        text, *(part.model_dump(exclude_unset=True) for part in request_.case.messages[0].parts)
    )
    with frontend.condition(frontend.inputs(longer), MEDIA, values) as inputs:
        check_given_inputs(MEDIA, values, inputs)
    positions = values.positions.repeat(len(inputs.positions) // len(values.positions), axis=0)
    np.testing.assert_array_equal(inputs.positions, positions)


@only_vllm
def test_media_cannot_be_given_to_a_frontend_with_others(
    frontend: Any, qwen2_vl: TransformersBackend
) -> None:
    values, _ = compute_reference_values(qwen2_vl, IMAGE)
    with pytest.raises(UnsupportedError, match="other media than the reference"):
        frontend.condition(frontend.inputs(IMAGES), MEDIA, values)


@only_vllm
def test_features_cannot_be_given_to_a_frontend(frontend: Any, qwen2_vl: TransformersBackend) -> None:
    values, _ = compute_reference_values(qwen2_vl, IMAGE)
    with pytest.raises(UnsupportedError, match="does not run at this depth"):
        frontend.condition(frontend.inputs(IMAGE), FEATURES, values)


@pytest.mark.skipif(ENGINE != "lmdeploy", reason="vLLM can be given media")
def test_media_cannot_be_given_to_lmdeploy(engine: Any, reference: TransformersBackend) -> None:
    values, _ = compute_reference_values(reference, IMAGE)
    with pytest.raises(UnsupportedError, match="LMDeploy cannot be given the reference's ids and media"):
        run_on(engine, IMAGE, values, MEDIA)


@pytest.mark.skipif(ENGINE != "lmdeploy", reason="vLLM knows given features by their hash")
def test_nothing_is_given_where_a_cache_would_mix_it_up(
    engine: Any, reference: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, _ = compute_reference_values(reference, IMAGE)
    monkeypatch.setattr(engine, "settings", replace(engine.settings, mode=PREFIX_CACHED))
    with pytest.raises(UnsupportedError, match="by its ids alone"):
        run_on(engine, IMAGE, values, FEATURES)
