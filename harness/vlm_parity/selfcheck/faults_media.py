"""Faults in what enters the vision tower: found before the tower runs."""

from __future__ import annotations

from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.hf_processors import (
    change_argument,
    change_return_value,
    drop_seconds,
    patch_both,
    patch_lmdeploy,
    patch_vllm,
    send_bytes_to_tower,
)
from vlm_parity.selfcheck.patching import Function

_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def _resize_nearest(resize: Function) -> Function:
    def resized(*args: Any, **named: Any) -> Any:
        from PIL.Image import Resampling

        return resize(*args, **{**named, "resample": Resampling.NEAREST})

    return resized


def _resize_as_floats(picture: Any) -> Any:
    """Bytes over 255 in half precision and back, where the fractions are cut off in place of rounded."""
    return ((picture.half() / 255).float() * 255).to(picture.dtype)


def _skip_normalization(rescale_and_normalize: Function) -> Function:
    def rescaled(images: Any, rescale: bool, factor: float, _: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, rescale, factor, False, *numbers)

    return rescaled


def _normalize_twice(rescale_and_normalize: Function) -> Function:
    def normalised(images: Any, rescale: bool, factor: float, *numbers: Any) -> Any:
        once = rescale_and_normalize(images, rescale, factor, *numbers)
        return rescale_and_normalize(once, False, factor, *numbers)

    return normalised


def _normalize_despite_device(rescale_and_normalize: Function) -> Function:
    """Normalises where vLLM tells it not to, for it does so on its device."""

    def normalised(images: Any, _: bool, factor: float, __: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, True, factor, True, *numbers)

    return normalised


def _transpose_features(features: Any) -> Any:
    features["image_grid_thw"] = features["image_grid_thw"][:, [0, 2, 1]]
    return features


def _rotate_image(picture: Any) -> Any:
    """[3, height, width], by 90 degrees: as one that lies on its side, with an EXIF orientation."""
    return picture.rot90(1, (1, 2))


def _repeat_every_second_frame(frames: Any) -> Any:
    """[frames, 3, height, width]"""
    return frames[[at // 2 * 2 for at in range(len(frames))]]


FAULTS: tuple[Fault, ...] = (
    Fault(
        "two pictures exchanged",
        Stage.MEDIA,
        "media reordered",
        {"vllm": vllm_inputs.reverse_media, "lmdeploy": lmdeploy_inputs.reverse_media},
        _QWEN,
        ("several_turns",),
    ),
    Fault(
        "height and width of the grid swapped",
        Stage.MEDIA,
        "grid transposed",
        patch_both("image_processor", "_preprocess", change_return_value(_transpose_features)),
        _QWEN,
        ("one_image", "wide_image"),
    ),
    Fault(
        "picture on its side",
        Stage.MEDIA,
        "image rotated or mirrored",
        patch_both("image_processor", "process_image", change_return_value(_rotate_image)),
        _QWEN,
        ("one_image", "tall_image"),
    ),
    Fault(
        "blue and red swapped",
        Stage.MEDIA,
        "channels swapped",
        patch_both("image_processor", "process_image", change_return_value(lambda picture: picture.flip(0))),
        _QWEN,
        ("one_image", "tiny_image"),
    ),
    Fault(
        "pixels normalized twice",
        Stage.MEDIA,
        "pixels normalized twice",
        {
            "vllm": patch_vllm("image_processor", "rescale_and_normalize", _normalize_despite_device),
            "lmdeploy": patch_lmdeploy("image_processor", "rescale_and_normalize", _normalize_twice),
        },
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "pixels not normalized",
        Stage.MEDIA,
        "pixels not normalized",
        {
            "vllm": send_bytes_to_tower,
            "lmdeploy": patch_lmdeploy("image_processor", "rescale_and_normalize", _skip_normalization),
        },
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "nearest neighbour in place of bicubic",
        Stage.MEDIA,
        "resize filter differs",
        patch_both("image_processor", "resize", _resize_nearest),
        _QWEN,
        ("tiny_image", "large_image"),
    ),
    Fault(
        "grey levels cut off in place of rounded",
        Stage.MEDIA,
        "pixels rounded differently",
        patch_both("image_processor", "resize", change_return_value(_resize_as_floats)),
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "transparency dropped in place of white",
        Stage.MEDIA,
        "alpha composited differently",
        # As transformers did up to 5.19: there vLLM differs by itself, see docs/findings.md.
        {
            "lmdeploy": patch_lmdeploy(
                "image_processor", "process_image", change_argument(lambda picture: picture.convert("RGB"))
            )
        },
        _QWEN,
        ("transparent_image",),
    ),
    Fault(
        "frames in reverse order",
        Stage.MEDIA,
        "frames sampled differently",
        patch_both(
            "video_processor",
            "_preprocess",
            change_argument(lambda videos: [video.flip(0) for video in videos]),
        ),
        ("qwen3_vl",),
        ("one_video",),
    ),
    Fault(
        "each second frame taken twice",
        Stage.MEDIA,
        "frames sampled differently",
        patch_both(
            "video_processor",
            "_preprocess",
            change_argument(lambda videos: [_repeat_every_second_frame(v) for v in videos]),
        ),
        ("qwen3_vl",),
        ("one_video", "video_and_image"),
    ),
    Fault(
        "seconds between frames lost",
        Stage.MEDIA,
        "second_per_grid_ts differs",
        {"vllm": drop_seconds},
        ("qwen2_5_vl",),
        ("video_and_image",),
    ),
)
