"""Faults in what enters the vision tower: found before the tower runs."""

from __future__ import annotations

from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.hf_processors import (
    bytes_to_the_tower,
    given,
    giving,
    in_both,
    in_lmdeploy,
    in_vllm,
    without_seconds,
)
from vlm_parity.selfcheck.patching import Function

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def _nearest(resize: Function) -> Function:
    def resized(*args: Any, **named: Any) -> Any:
        from PIL.Image import Resampling

        return resize(*args, **{**named, "resample": Resampling.NEAREST})

    return resized


def _through_floats(picture: Any) -> Any:
    """Bytes over 255 in half precision and back, where the fractions are cut off in place of rounded."""
    return ((picture.half() / 255).float() * 255).to(picture.dtype)


def _never(rescale_and_normalize: Function) -> Function:
    def rescaled(images: Any, rescale: bool, factor: float, _: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, rescale, factor, False, *numbers)

    return rescaled


def _twice(rescale_and_normalize: Function) -> Function:
    def normalised(images: Any, rescale: bool, factor: float, *numbers: Any) -> Any:
        once = rescale_and_normalize(images, rescale, factor, *numbers)
        return rescale_and_normalize(once, False, factor, *numbers)

    return normalised


def _although_the_device_does(rescale_and_normalize: Function) -> Function:
    """Normalises where vLLM tells it not to, for it does so on its device."""

    def normalised(images: Any, _: bool, factor: float, __: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, True, factor, True, *numbers)

    return normalised


def _transposed(features: Any) -> Any:
    features["image_grid_thw"] = features["image_grid_thw"][:, [0, 2, 1]]
    return features


def _turned(picture: Any) -> Any:
    """[3, height, width], by 90 degrees: as one that lies on its side, with an EXIF orientation."""
    return picture.rot90(1, (1, 2))


def _each_second_twice(frames: Any) -> Any:
    """[frames, 3, height, width]"""
    return frames[[at // 2 * 2 for at in range(len(frames))]]


FAULTS: tuple[Fault, ...] = (
    Fault(
        "two pictures exchanged",
        Stage.MEDIA,
        "media reordered",
        {"vllm": vllm_inputs.media_reversed, "lmdeploy": lmdeploy_inputs.media_reversed},
        _QWEN,
        ("several_turns",),
    ),
    Fault(
        "height and width of the grid swapped",
        Stage.MEDIA,
        "grid transposed",
        in_both("image_processor", "_preprocess", giving(_transposed)),
        _QWEN,
        ("one_image", "wide_image"),
    ),
    Fault(
        "picture on its side",
        Stage.MEDIA,
        "image rotated or mirrored",
        in_both("image_processor", "process_image", giving(_turned)),
        _QWEN,
        ("one_image", "tall_image"),
    ),
    Fault(
        "blue and red swapped",
        Stage.MEDIA,
        "channels swapped",
        in_both("image_processor", "process_image", giving(lambda picture: picture.flip(0))),
        _QWEN,
        ("one_image", "tiny_image"),
    ),
    Fault(
        "pixels normalized twice",
        Stage.MEDIA,
        "pixels normalized twice",
        {
            "vllm": in_vllm("image_processor", "rescale_and_normalize", _although_the_device_does),
            "lmdeploy": in_lmdeploy("image_processor", "rescale_and_normalize", _twice),
        },
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "pixels not normalized",
        Stage.MEDIA,
        "pixels not normalized",
        {
            "vllm": bytes_to_the_tower,
            "lmdeploy": in_lmdeploy("image_processor", "rescale_and_normalize", _never),
        },
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "nearest neighbour in place of bicubic",
        Stage.MEDIA,
        "resize filter differs",
        in_both("image_processor", "resize", _nearest),
        _QWEN,
        ("tiny_image", "large_image"),
    ),
    Fault(
        "grey levels cut off in place of rounded",
        Stage.MEDIA,
        "pixels rounded differently",
        in_both("image_processor", "resize", giving(_through_floats)),
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "transparency dropped in place of white",
        Stage.MEDIA,
        "alpha composited differently",
        # As transformers did up to 5.19: there vLLM differs by itself, see docs/findings.md.
        {
            "lmdeploy": in_lmdeploy(
                "image_processor", "process_image", given(lambda picture: picture.convert("RGB"))
            )
        },
        _QWEN,
        ("transparent_image",),
    ),
    Fault(
        "frames in reverse order",
        Stage.MEDIA,
        "frames sampled differently",
        in_both("video_processor", "_preprocess", given(lambda videos: [video.flip(0) for video in videos])),
        ("qwen3_vl",),
        ("one_video",),
    ),
    Fault(
        "each second frame taken twice",
        Stage.MEDIA,
        "frames sampled differently",
        in_both(
            "video_processor", "_preprocess", given(lambda videos: [_each_second_twice(v) for v in videos])
        ),
        ("qwen3_vl",),
        ("one_video", "video_and_image"),
    ),
    Fault(
        "seconds between frames lost",
        Stage.MEDIA,
        "second_per_grid_ts differs",
        {"vllm": without_seconds},
        ("qwen2_5_vl",),
        ("video_and_image",),
    ),
)
