"""Media of LMDeploy's real frontend, compared with those of transformers."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from tests.support.frontends import LoadFrontend
from tests.support.requests import (
    IMAGE_PART,
    OTHER_IMAGE_PART,
    OTHER_VIDEO_PART,
    TEXT_PART,
    VIDEO_PART,
    make_request,
)
from vlm_parity.schema.engine_setup import Depth

pytest.importorskip("lmdeploy")
torch = pytest.importorskip("torch")

from vlm_parity.backends.base import Backend, CapturedMedium, Request, Settings
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.backends.lmdeploy.tower_inputs import _join_arrays
from vlm_parity.diff.array_distance import round_to_dtype
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import PrivateApiChangedError

IMAGES = make_request(OTHER_IMAGE_PART, {"text": "and"}, IMAGE_PART, TEXT_PART)
MIXED = make_request(OTHER_IMAGE_PART, VIDEO_PART, IMAGE_PART, OTHER_VIDEO_PART, TEXT_PART)


def capture_media(backend: Backend, request: Request) -> tuple[CapturedMedium, ...]:
    media = backend.inputs(request).media
    assert media is not None
    return media


@pytest.mark.parametrize(
    ("family", "request_"),
    [*((family, IMAGES) for family in DEFAULT_FAMILIES), ("qwen3_vl", MIXED)],
    ids=[*DEFAULT_FAMILIES, "qwen3_vl with videos"],
)
def test_media_are_those_of_transformers(family: str, request_: Request, load_frontend: LoadFrontend) -> None:
    tested = capture_media(load_frontend("lmdeploy", family), request_)
    expected = capture_media(load_frontend("transformers", family), request_)
    items = [(medium.modality, medium.item) for medium in tested]
    assert items == [(medium.modality, medium.item) for medium in expected]
    assert [medium.fields for medium in tested] == [medium.fields for medium in expected]
    for medium, reference_medium in zip(tested, expected, strict=True):
        np.testing.assert_array_equal(medium.arrays["pixel_values"], reference_medium.arrays["pixel_values"])
        assert (medium.dtype, medium.device_norm_bias) == ("float32", None)


def test_the_groups_of_frames_of_a_video_are_joined(load_frontend: LoadFrontend) -> None:
    media = capture_media(load_frontend("lmdeploy", "qwen3_vl"), MIXED)
    notes = {(medium.modality, medium.item): medium.note for medium in media}
    assert notes == {
        ("image", 0): "",
        ("image", 1): "",
        ("video", 0): "2 entries, one for each group of frames, joined",
        ("video", 1): "4 entries, one for each group of frames, joined",
    }


def test_groups_of_frames_of_different_sizes_are_not_one_video() -> None:
    with pytest.raises(PrivateApiChangedError, match="different sizes"):
        _join_arrays("video_grid_thw", [torch.tensor([1, 4, 6]), torch.tensor([1, 6, 4])])


def test_the_newer_image_processor_rounds_to_the_dtype_of_the_model_and_the_older_does_not(
    load_frontend: LoadFrontend,
) -> None:
    settings = Settings(depth=Depth.TOKENS, device="cuda", dtype="float16")
    for family, dtype in (("qwen3_vl", "float16"), ("qwen2_vl", "float32")):
        with closing(LmdeployBackend(settings)) as backend:
            backend.load(build_checkpoint(family))
            tested = capture_media(backend, IMAGES)
        reference = capture_media(load_frontend("transformers", family), IMAGES)
        for medium, reference_medium in zip(tested, reference, strict=True):
            assert medium.dtype == dtype
            expected = round_to_dtype(reference_medium.arrays["pixel_values"], dtype)
            np.testing.assert_array_equal(medium.arrays["pixel_values"], expected)


def test_text_has_no_media(load_frontend: LoadFrontend) -> None:
    assert capture_media(load_frontend("lmdeploy", "qwen2_vl"), make_request(TEXT_PART)) == ()


def test_media_are_not_captured_if_their_entries_cannot_be_assigned(
    load_frontend: LoadFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load_frontend("lmdeploy", "qwen3_vl")
    monkeypatch.setattr(backend._frontend, "_count_video_entries", lambda _: [7, 7])
    inputs = backend.inputs(MIXED)
    assert inputs.media is None
    assert "do not add up" in inputs.not_captured[Stage.MEDIA]


def test_media_of_a_model_without_a_family_are_not_captured(
    load_frontend: LoadFrontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load_frontend("lmdeploy", "qwen2_vl")
    monkeypatch.setattr(backend._frontend._tower, "_family", None)
    inputs = backend.inputs(IMAGES)
    assert inputs.media is None
    assert inputs.not_captured[Stage.MEDIA] == "no family is registered for model_type 'qwen2_vl'"
