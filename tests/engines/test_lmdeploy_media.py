"""What enters LMDeploy's vision tower, with its real front end, beside what transformers makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.requests import VIDEO_PART, OTHER_IMAGE_PART, IMAGE_PART, TEXT_PART, make_request

pytest.importorskip("lmdeploy")
torch = pytest.importorskip("torch")

from vlm_parity.backends.base import CapturedMedium, Request, Settings
from vlm_parity.backends.lmdeploy.backend import LmdeployBackend
from vlm_parity.backends.lmdeploy.tower_inputs import _join_arrays
from vlm_parity.backends.transformers.backend import TransformersBackend
from vlm_parity.diff.array_distance import round_to_dtype
from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.registry import DEFAULT_FAMILIES
from vlm_parity.schema.trace import Depth, Stage
from vlm_parity.util.errors import PrivateApiChangedError

OTHER_CLIP = {"video": {"pattern": "gradient", "size": [84, 112], "frames": 7, "fps": 2.0}}
PICTURES = make_request(OTHER_IMAGE_PART, {"text": "and"}, IMAGE_PART, TEXT_PART)
MIXED = make_request(OTHER_IMAGE_PART, VIDEO_PART, IMAGE_PART, OTHER_CLIP, TEXT_PART)


def frontend(family: str, **settings: Any) -> LmdeployBackend:
    backend = LmdeployBackend(Settings(depth=Depth.TOKENS, **settings))
    backend.load(build_checkpoint(family))
    return backend


def media(family: str, request: Request, **settings: Any) -> tuple[CapturedMedium, ...]:
    backend = frontend(family, **settings)
    found = backend.inputs(request).media
    backend.close()
    assert found is not None
    return found


def reference(family: str, request: Request) -> tuple[CapturedMedium, ...]:
    backend = TransformersBackend(Settings(depth=Depth.TOKENS))
    backend.load(build_checkpoint(family))
    found = backend.inputs(request).media
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("family", "request_"),
    [*((family, PICTURES) for family in DEFAULT_FAMILIES), ("qwen3_vl", MIXED)],
    ids=[*DEFAULT_FAMILIES, "qwen3_vl with videos"],
)
def test_every_bit_is_that_of_transformers(family: str, request_: Request) -> None:
    tested, expected = media(family, request_), reference(family, request_)
    places = [(medium.modality, medium.item) for medium in tested]
    assert places == [(medium.modality, medium.item) for medium in expected]
    assert [medium.fields for medium in tested] == [medium.fields for medium in expected]
    for ours, theirs in zip(tested, expected, strict=True):
        np.testing.assert_array_equal(ours.arrays["pixel_values"], theirs.arrays["pixel_values"])
        assert (ours.dtype, ours.device_norm_bias) == ("float32", None)


def test_the_groups_of_frames_of_a_video_are_put_together() -> None:
    notes = {(medium.modality, medium.item): medium.note for medium in media("qwen3_vl", MIXED)}
    assert notes == {
        ("image", 0): "",
        ("image", 1): "",
        ("video", 0): "2 entries, one for each group of frames, put together",
        ("video", 1): "4 entries, one for each group of frames, put together",
    }


def test_groups_of_frames_of_several_sizes_are_not_one_video() -> None:
    with pytest.raises(PrivateApiChangedError, match="several sizes"):
        _join_arrays("video_grid_thw", [torch.tensor([1, 4, 6]), torch.tensor([1, 6, 4])])


def test_the_newer_front_end_rounds_to_the_models_dtype_and_the_older_does_not() -> None:
    for family, dtype in (("qwen3_vl", "float16"), ("qwen2_vl", "float32")):
        tested = media(family, PICTURES, device="cuda", dtype="float16")
        for ours, theirs in zip(tested, reference(family, PICTURES), strict=True):
            assert ours.dtype == dtype
            expected = round_to_dtype(theirs.arrays["pixel_values"], dtype)
            np.testing.assert_array_equal(ours.arrays["pixel_values"], expected)


def test_text_brings_no_media() -> None:
    assert media("qwen2_vl", make_request(TEXT_PART)) == ()


def test_what_cannot_be_told_apart_is_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = frontend("qwen3_vl")
    monkeypatch.setattr(backend._frontend, "_count_video_entries", lambda _videos: [7, 7])
    inputs = backend.inputs(MIXED)
    backend.close()
    assert inputs.media is None
    assert "do not add up" in inputs.not_captured[Stage.MEDIA]


def test_a_model_that_nobody_knows_says_so() -> None:
    backend = frontend("qwen2_vl")
    backend._frontend._tower._family = None
    inputs = backend.inputs(PICTURES)
    backend.close()
    assert inputs.media is None
    assert inputs.not_captured[Stage.MEDIA] == "no family is registered for model_type 'qwen2_vl'"
