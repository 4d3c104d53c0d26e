"""Media of vLLM's real frontend, compared with those of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.frontends import LoadFrontend
from tests.support.requests import IMAGE_PART, OTHER_IMAGE_PART, TEXT_PART, VIDEO_PART, make_request
from vlm_parity.schema.engine_setup import Depth, Dtype

pytest.importorskip("vllm")

from vlm_parity.backends.base import Backend, CapturedMedium, Settings
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.tower_inputs import NOTE
from vlm_parity.diff.array_distance import compare_arrays, round_to_dtype
from vlm_parity.diff.pixel_tolerance import compute_device_bound
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import PrivateApiChangedError

LONG_VIDEO_PART = {"video": {"pattern": "gradient", "size": [84, 112], "frames": 7, "fps": 3.0}}
REQUEST = make_request(
    OTHER_IMAGE_PART, {"video": {**VIDEO_PART["video"], "fps": 3.0}}, IMAGE_PART, LONG_VIDEO_PART, TEXT_PART
)
DEVICE_NORM = ("default", "off")
BUILD_NORM = "vllm.model_executor.layers.fusion.mm_input_norm.build_mm_input_norm"


@dataclass(frozen=True)
class CapturedPair:
    reference: tuple[CapturedMedium, ...]
    tested: dict[str, tuple[CapturedMedium, ...]]
    """By the state of ``DEVICE_NORM``."""

    def pixels(self, device_norm: str) -> list[tuple[np.ndarray, np.ndarray, CapturedMedium]]:
        """Return the pixels of the reference and of vLLM for each medium, and vLLM's medium."""
        return [
            (expected.arrays["pixel_values"], tested.arrays["pixel_values"], tested)
            for expected, tested in zip(self.reference, self.tested[device_norm], strict=True)
        ]


def load_without_device_norm(family: str, dtype: Dtype = "float32") -> Backend:
    backend = VllmBackend(
        Settings(depth=Depth.TOKENS, dtype=dtype, engine_args={"mm_device_do_normalize": False})
    )
    backend.load(build_checkpoint(family))
    return backend


def capture_media(backend: Backend) -> tuple[CapturedMedium, ...]:
    media = backend.inputs(REQUEST).media
    assert media is not None
    return media


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def pair(request: pytest.FixtureRequest, load_frontend: LoadFrontend) -> CapturedPair:
    tested = {
        "default": capture_media(load_frontend("vllm", request.param)),
        "off": capture_media(load_without_device_norm(request.param)),
    }
    return CapturedPair(capture_media(load_frontend("transformers", request.param)), tested)


@pytest.fixture(scope="module")
def frontend(load_frontend: LoadFrontend) -> VllmBackend:
    backend = load_frontend("vllm", "qwen2_vl")
    assert isinstance(backend, VllmBackend)
    return backend


@pytest.mark.parametrize("device_norm", DEVICE_NORM)
def test_media_are_in_the_order_of_the_conversation(pair: CapturedPair, device_norm: str) -> None:
    items = [(medium.modality, medium.item) for medium in pair.tested[device_norm]]
    assert items == [("image", 0), ("video", 0), ("image", 1), ("video", 1)]
    assert items == [(medium.modality, medium.item) for medium in pair.reference]


@pytest.mark.parametrize("device_norm", DEVICE_NORM)
def test_fields_are_those_of_transformers(pair: CapturedPair, device_norm: str) -> None:
    expected = [medium.fields for medium in pair.reference]
    assert [medium.fields for medium in pair.tested[device_norm]] == expected


def test_without_normalization_on_the_device_pixels_are_equal(pair: CapturedPair) -> None:
    for expected, tested, medium in pair.pixels("off"):
        np.testing.assert_array_equal(tested, expected)
        assert (medium.dtype, medium.device_norm_bias, medium.note) == ("float32", None, "")


def test_with_normalization_on_the_device_pixels_are_equal_up_to_rounding(pair: CapturedPair) -> None:
    different = 0
    for expected, tested, medium in pair.pixels("default"):
        assert (medium.dtype, medium.note) == ("float32", NOTE)
        assert medium.device_norm_bias is not None
        bound = compute_device_bound(expected, medium.device_norm_bias)
        distance = compare_arrays(expected, tested, bound)
        different += distance.different
        assert distance.over_bound == 0
        gray_level = float(np.diff(np.unique(expected)).max())
        assert distance.max_abs < gray_level / 1000
    assert different, "both orders of operations return equal values: no bound is needed"


def test_floats_are_normalized_a_second_time_like_in_the_model(
    frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = frontend.inputs(make_request(IMAGE_PART, TEXT_PART)).media
    processor = frontend._renderer.get_mm_processor().info.get_hf_processor().image_processor
    rescale = processor.rescale_and_normalize
    monkeypatch.setattr(processor, "rescale_and_normalize", lambda *args: rescale(*args).float() + 0.5)
    again = frontend.inputs(make_request(IMAGE_PART, TEXT_PART)).media
    assert once is not None
    assert again is not None
    difference = again[0].arrays["pixel_values"] - once[0].arrays["pixel_values"]
    half_a_level = 0.5 / 255 / np.repeat([0.26862954, 0.26130258, 0.27577711], 2 * 14**2)
    np.testing.assert_allclose(difference, np.broadcast_to(half_a_level, difference.shape), atol=1e-6)


def test_pixels_in_bfloat16_are_those_of_transformers_rounded(load_frontend: LoadFrontend) -> None:
    reference = capture_media(load_frontend("transformers", "qwen2_5_vl"))
    tested = capture_media(load_without_device_norm("qwen2_5_vl", "bfloat16"))
    for medium, reference_medium in zip(tested, reference, strict=True):
        assert medium.dtype == "bfloat16"
        unrounded = reference_medium.arrays["pixel_values"]
        expected = round_to_dtype(unrounded, "bfloat16")
        assert not np.array_equal(expected, unrounded)
        np.testing.assert_array_equal(medium.arrays["pixel_values"], expected)


def test_text_has_no_media(frontend: VllmBackend) -> None:
    assert frontend.inputs(make_request(TEXT_PART)).media == ()


def test_media_of_a_model_without_a_family_are_not_captured(
    frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontend._tower, "_family", None)
    inputs = frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
    assert inputs.media is None
    assert inputs.not_captured == {Stage.MEDIA: "no family is registered for model_type 'qwen2_vl'"}


def test_an_error_names_a_missing_private_name(
    frontend: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(BUILD_NORM, lambda _: SimpleNamespace(bias=None))
        with pytest.raises(
            PrivateApiChangedError, match=r"mm_input_norm: SimpleNamespace has no forward_native$"
        ):
            frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
    monkeypatch.delattr(BUILD_NORM)
    with pytest.raises(PrivateApiChangedError, match="build_mm_input_norm"):
        frontend.inputs(make_request(IMAGE_PART, TEXT_PART))
