"""Faults in the vision tower inputs, which show before the tower runs."""

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
    def resize_nearest(*args: Any, **kwargs: Any) -> Any:
        from PIL.Image import Resampling

        return resize(*args, **{**kwargs, "resample": Resampling.NEAREST})

    return resize_nearest


def _truncate_pixels(image: Any) -> Any:
    """Divide by 255 in half precision and convert back: fractions are truncated instead of rounded."""
    return ((image.half() / 255).float() * 255).to(image.dtype)


def _skip_normalization(rescale_and_normalize: Function) -> Function:
    def rescaled(images: Any, rescale: bool, factor: float, _: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, rescale, factor, False, *numbers)

    return rescaled


def _normalize_twice(rescale_and_normalize: Function) -> Function:
    def normalized(images: Any, rescale: bool, factor: float, *numbers: Any) -> Any:
        once = rescale_and_normalize(images, rescale, factor, *numbers)
        return rescale_and_normalize(once, False, factor, *numbers)

    return normalized


def _normalize_despite_device(rescale_and_normalize: Function) -> Function:
    """Normalize although vLLM requests it not to, because vLLM itself normalizes on its device."""

    def normalized(images: Any, _: bool, factor: float, __: bool, *numbers: Any) -> Any:
        return rescale_and_normalize(images, True, factor, True, *numbers)

    return normalized


def _transpose_features(features: Any) -> Any:
    features["image_grid_thw"] = features["image_grid_thw"][:, [0, 2, 1]]
    return features


def _rotate_image(image: Any) -> Any:
    """Rotate [3, height, width] by 90 degrees, as if the EXIF orientation were ignored."""
    return image.rot90(1, (1, 2))


def _repeat_every_second_frame(frames: Any) -> Any:
    """Replace each second one of [frames, 3, height, width] by the frame before it."""
    return frames[[index // 2 * 2 for index in range(len(frames))]]


FAULTS: tuple[Fault, ...] = (
    Fault(
        "images of equal sizes in reverse order",
        Stage.MEDIA,
        "media reordered",
        {"vllm": vllm_inputs.reverse_media, "lmdeploy": lmdeploy_inputs.reverse_media},
        _QWEN,
        ("two_images",),
    ),
    Fault(
        "two images swapped",
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
        "image rotated",
        Stage.MEDIA,
        "image rotated or mirrored",
        patch_both("image_processor", "process_image", change_return_value(_rotate_image)),
        _QWEN,
        ("one_image", "tall_image"),
    ),
    Fault(
        "red and blue channels swapped",
        Stage.MEDIA,
        "channels swapped",
        patch_both("image_processor", "process_image", change_return_value(lambda image: image.flip(0))),
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
        "nearest-neighbor resize instead of bicubic",
        Stage.MEDIA,
        "resize filter differs",
        patch_both("image_processor", "resize", _resize_nearest),
        _QWEN,
        ("tiny_image", "large_image"),
    ),
    Fault(
        "pixel values truncated instead of rounded",
        Stage.MEDIA,
        "pixels rounded differently",
        patch_both("image_processor", "resize", change_return_value(_truncate_pixels)),
        _QWEN,
        ("one_image", "two_images"),
    ),
    Fault(
        "alpha dropped instead of composited on white",
        Stage.MEDIA,
        "alpha composited differently",
        # As transformers up to 5.19, where vLLM differs without a fault: see docs/results/findings.md.
        {
            "lmdeploy": patch_lmdeploy(
                "image_processor", "process_image", change_argument(lambda image: image.convert("RGB"))
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
        "every second frame duplicated",
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
        "second_per_grid_ts dropped",
        Stage.MEDIA,
        "second_per_grid_ts differs",
        {"vllm": drop_seconds},
        ("qwen2_5_vl",),
        ("video_and_image",),
    ),
)
