"""What enters vLLM's vision tower, with its real front end, beside what transformers makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.requests import VIDEO_PART, OTHER_IMAGE_PART, IMAGE_PART, TEXT_PART, make_request

pytest.importorskip("vllm")

from vlm_parity.backends.base import Backend, CapturedMedium, Settings
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.tower_inputs import NOTE
from vlm_parity.diff.array_distance import compare_arrays, round_to_dtype
from vlm_parity.diff.pixel_tolerance import compute_device_bound
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.util.errors import PrivateApiChangedError

LONG_CLIP = {"video": {"pattern": "gradient", "size": [84, 112], "frames": 7, "fps": 3.0}}
REQUEST = make_request(OTHER_IMAGE_PART, {"video": {**VIDEO_PART["video"], "fps": 3.0}}, IMAGE_PART, LONG_CLIP, TEXT_PART)
OFF = {"mm_device_do_normalize": False}
TOLD = {"default": Settings(), "off": Settings(engine_args=OFF)}
IN_BFLOAT16 = Settings(dtype="bfloat16", engine_args=OFF)
NORMALISATION = "vllm.model_executor.layers.fusion.mm_input_norm.build_mm_input_norm"


@dataclass(frozen=True)
class Sides:
    reference: tuple[CapturedMedium, ...]
    tested: dict[str, tuple[CapturedMedium, ...]]
    """By the name of what vLLM was told."""

    def pixels(self, told: str) -> list[tuple[np.ndarray, np.ndarray, CapturedMedium]]:
        """The reference's and vLLM's of each medium, with vLLM's medium."""
        return [
            (theirs.arrays["pixel_values"], ours.arrays["pixel_values"], ours)
            for theirs, ours in zip(self.reference, self.tested[told], strict=True)
        ]


def loaded(kind: type[Backend], family: str, settings: Settings) -> Backend:
    backend = kind(replace(settings, depth=Depth.TOKENS))
    backend.load(build_checkpoint(family))
    return backend


def media(backend: Backend) -> tuple[CapturedMedium, ...]:
    found = backend.inputs(REQUEST).media
    assert found is not None
    return found


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def sides(request: pytest.FixtureRequest) -> Sides:
    reference = media(loaded(TransformersBackend, request.param, Settings()))
    tested = {told: media(loaded(VllmBackend, request.param, TOLD[told])) for told in TOLD}
    return Sides(reference, tested)


@pytest.fixture(scope="module")
def frontend() -> VllmBackend:
    backend = loaded(VllmBackend, "qwen2_vl", Settings())
    assert isinstance(backend, VllmBackend)
    return backend


@pytest.mark.parametrize("told", TOLD)
def test_the_media_come_in_the_order_of_the_conversation(sides: Sides, told: str) -> None:
    places = [(medium.modality, medium.item) for medium in sides.tested[told]]
    assert places == [("image", 0), ("video", 0), ("image", 1), ("video", 1)]
    assert places == [(medium.modality, medium.item) for medium in sides.reference]


@pytest.mark.parametrize("told", TOLD)
def test_the_model_is_told_the_same_numbers(sides: Sides, told: str) -> None:
    assert [medium.fields for medium in sides.tested[told]] == [medium.fields for medium in sides.reference]


def test_without_normalisation_on_the_device_every_bit_is_that_of_transformers(sides: Sides) -> None:
    for theirs, ours, medium in sides.pixels("off"):
        np.testing.assert_array_equal(ours, theirs)
        assert (medium.dtype, medium.device_norm_bias, medium.note) == ("float32", None, "")


def test_by_default_the_device_normalises_and_the_values_lie_within_the_rounding(sides: Sides) -> None:
    different = 0
    for theirs, ours, medium in sides.pixels("default"):
        assert (medium.dtype, medium.note) == ("float32", NOTE)
        assert medium.device_norm_bias is not None
        found = compare_arrays(theirs, ours, compute_device_bound(theirs, medium.device_norm_bias))
        different += found.different
        assert found.over_bound == 0
        grey_level = float(np.diff(np.unique(theirs)).max())
        assert found.max_abs < grey_level / 1000
    assert different, "the two orders of operations give the same: no bound is needed"


def test_floats_are_normalised_a_second_time_as_the_models_module_does(
    frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = frontend.inputs(make_request(IMAGE_PART, TEXT_PART)).media
    processor = frontend._renderer.get_mm_processor().info.get_hf_processor().image_processor
    rescale = processor.rescale_and_normalize
    monkeypatch.setattr(processor, "rescale_and_normalize", lambda *given: rescale(*given).float() + 0.5)
    again = frontend.inputs(make_request(IMAGE_PART, TEXT_PART)).media
    assert once is not None
    assert again is not None
    difference = again[0].arrays["pixel_values"] - once[0].arrays["pixel_values"]
    half_a_level = 0.5 / 255 / np.repeat([0.26862954, 0.26130258, 0.27577711], 2 * 14**2)
    np.testing.assert_allclose(difference, np.broadcast_to(half_a_level, difference.shape), atol=1e-6)


def test_in_bfloat16_the_front_end_rounds_and_says_so() -> None:
    reference = media(loaded(TransformersBackend, "qwen2_5_vl", Settings()))
    tested = media(loaded(VllmBackend, "qwen2_5_vl", IN_BFLOAT16))
    for ours, theirs in zip(tested, reference, strict=True):
        assert ours.dtype == "bfloat16"
        expected = round_to_dtype(theirs.arrays["pixel_values"], "bfloat16")
        assert not np.array_equal(expected, theirs.arrays["pixel_values"])
        np.testing.assert_array_equal(ours.arrays["pixel_values"], expected)


def test_text_brings_no_media(frontend: VllmBackend) -> None:
    assert frontend.inputs(make_request(TEXT_PART)).media == ()


def test_a_model_that_nobody_knows_says_so(frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend._tower, "_family", None)
    inputs = frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
    assert inputs.media is None
    assert inputs.not_captured == {Stage.MEDIA: "no family is registered for model_type 'qwen2_vl'"}


def test_a_private_name_that_is_gone_is_named(
    frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(NORMALISATION, lambda _: SimpleNamespace(bias=None))
        with pytest.raises(
            PrivateApiChangedError, match=r"mm_input_norm: SimpleNamespace has no forward_native$"
        ):
            frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
    monkeypatch.delattr(NORMALISATION)
    with pytest.raises(PrivateApiChangedError, match="build_mm_input_norm"):
        frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
