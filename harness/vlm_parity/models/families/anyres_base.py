"""Pictures of any resolution, as LLaVA-NeXT and its heirs cut them: the whole picture made small, then tiles;
and videos, whose frames are whole.

Sizes are heights and widths, in pixels unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm_parity.models.families.base import TowerInput
from vlm_parity.schema.case import Modality

ImageSize = tuple[int, int]


def choose_best_resolution(size: ImageSize, resolutions: Sequence[ImageSize]) -> ImageSize:
    """The one that keeps most pixels of a picture; among equals that which wastes fewest, the first of them.

    Source: transformers' ``select_best_resolution``.
    """

    def worth(resolution: ImageSize) -> tuple[int, int]:
        scale = min(resolution[1] / size[1], resolution[0] / size[0])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - resolution[0] * resolution[1]

    return max(resolutions, key=worth)


def count_tiles(config: Mapping[str, Any], size: ImageSize) -> ImageSize:
    """Into how many rows and columns of tiles a picture is cut."""
    side = config["vision_config"]["image_size"]
    height, width = choose_best_resolution(
        size, [(high, wide) for high, wide in config["image_grid_pinpoints"]]
    )
    return height // side, width // side


def count_kept_patches(config: Mapping[str, Any], size: ImageSize) -> ImageSize:
    """Rows and columns of patches of all tiles together that are no padding.

    Source: ``_get_unpadded_features`` of transformers' ``LlavaNextProcessor``.
    """
    along = count_patches_per_side(config)
    rows, columns = (along * tiles for tiles in count_tiles(config, size))
    height, width = size
    if width / height > columns / rows:
        filled = int(round(height * (columns / width), 7))
        return rows - (rows - filled) // 2 * 2, columns
    filled = int(round(width * (rows / height), 7))
    return rows, columns - (columns - filled) // 2 * 2


def count_patches_per_side(config: Mapping[str, Any]) -> int:
    """Patches along a side of a tile."""
    vision = config["vision_config"]
    along: int = vision["image_size"] // vision["patch_size"]
    return along


def get_sizes(inputs: Mapping[str, Any]) -> list[ImageSize]:
    """Of the pictures in what a processor, or an engine for one picture, returned."""
    if inputs.get("image_sizes") is None:
        return []
    return [(int(height), int(width)) for height, width in np.asarray(inputs["image_sizes"]).reshape(-1, 2)]


def build_tiled_images(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[TowerInput]:
    """The pictures without the empty tiles that a processor fills up with, where it has several pictures;
    an engine's single one may come without the axis of the media.
    """
    sizes = get_sizes(inputs)
    if not sizes:
        return []
    pixels = np.asarray(inputs["pixel_values"], np.float32)
    pictures = pixels.reshape(len(sizes), -1, *pixels.shape[-3:])
    found = []
    for picture, size in zip(pictures, sizes, strict=True):
        rows, columns = count_tiles(config, size)
        given = picture[: 1 + rows * columns]
        fields = {"size": tuple(map(float, size)), "tiles": (float(len(given)),)}
        found.append(TowerInput(fields, {"pixel_values": given}))
    return found


def build_frame_videos(inputs: Mapping[str, Any]) -> list[TowerInput]:
    """The videos of what a processor, or an engine for one video, returned: frames of one size, whole."""
    if inputs.get("pixel_values_videos") is None:
        return []
    pixels = np.asarray(inputs["pixel_values_videos"], np.float32)
    videos = pixels.reshape(-1, *pixels.shape[-4:])
    return [TowerInput({"frames": (float(len(video)),)}, {"pixel_values": video}) for video in videos]


def build_mixed_media(
    config: Mapping[str, Any], inputs: Mapping[str, Any]
) -> dict[Modality, list[TowerInput]]:
    """``Family.tower_inputs``: pictures in tiles and videos in frames."""
    pictures, videos = build_tiled_images(config, inputs), build_frame_videos(inputs)
    found: dict[Modality, list[TowerInput]] = {"image": pictures, "video": videos}
    return {modality: media for modality, media in found.items() if media}
