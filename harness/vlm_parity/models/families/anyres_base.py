"""Images of any resolution, like LLaVA-NeXT: the downscaled image, then its tiles; frames of videos whole.

Sizes are heights and widths, in pixels unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm_parity.models.families.base import TowerInput
from vlm_parity.schema.case import Modality

ImageSize = tuple[int, int]


def choose_best_resolution(size: ImageSize, resolutions: Sequence[ImageSize]) -> ImageSize:
    """Choose the resolution that keeps the most pixels of an image.

    Among equals it is the one that wastes the fewest, and the first of those.
    Source: transformers' ``select_best_resolution``.
    """

    def rate(resolution: ImageSize) -> tuple[int, int]:
        scale = min(resolution[1] / size[1], resolution[0] / size[0])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - resolution[0] * resolution[1]

    return max(resolutions, key=rate)


def count_tiles(config: Mapping[str, Any], size: ImageSize) -> ImageSize:
    """Return the rows and columns of tiles of an image."""
    tile_size = config["vision_config"]["image_size"]
    height, width = choose_best_resolution(
        size, [(height, width) for height, width in config["image_grid_pinpoints"]]
    )
    return height // tile_size, width // tile_size


def count_kept_patches(config: Mapping[str, Any], size: ImageSize) -> ImageSize:
    """Return the rows and columns of patches of all tiles together, without padding.

    Source: ``_get_unpadded_features`` of transformers' ``LlavaNextProcessor``.
    """
    patches = count_patches_per_side(config)
    rows, columns = (patches * tiles for tiles in count_tiles(config, size))
    height, width = size
    if width / height > columns / rows:
        filled = int(round(height * (columns / width), 7))
        return rows - (rows - filled) // 2 * 2, columns
    filled = int(round(width * (rows / height), 7))
    return rows, columns - (columns - filled) // 2 * 2


def count_patches_per_side(config: Mapping[str, Any]) -> int:
    """Return the number of patches along a side of a tile."""
    vision = config["vision_config"]
    patches: int = vision["image_size"] // vision["patch_size"]
    return patches


def get_sizes(inputs: Mapping[str, Any]) -> list[ImageSize]:
    """Return the sizes of the images in the output of a processor, or of an engine for one image."""
    if inputs.get("image_sizes") is None:
        return []
    return [(int(height), int(width)) for height, width in np.asarray(inputs["image_sizes"]).reshape(-1, 2)]


def build_tiled_images(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[TowerInput]:
    """Build tower inputs of images in tiles, without the empty tiles with which a processor pads.

    An engine's single image may lack the axis of images.
    """
    sizes = get_sizes(inputs)
    if not sizes:
        return []
    pixels = np.asarray(inputs["pixel_values"], np.float32)
    images = []
    for padded_tiles, size in zip(pixels.reshape(len(sizes), -1, *pixels.shape[-3:]), sizes, strict=True):
        rows, columns = count_tiles(config, size)
        tiles = padded_tiles[: 1 + rows * columns]
        fields = {"size": tuple(map(float, size)), "tiles": (float(len(tiles)),)}
        images.append(TowerInput(fields, {"pixel_values": tiles}))
    return images


def build_frame_videos(inputs: Mapping[str, Any]) -> list[TowerInput]:
    """Build tower inputs of videos as whole frames of one size; an engine's may lack the axis of videos."""
    if inputs.get("pixel_values_videos") is None:
        return []
    pixels = np.asarray(inputs["pixel_values_videos"], np.float32)
    videos = pixels.reshape(-1, *pixels.shape[-4:])
    return [TowerInput({"frames": (float(len(video)),)}, {"pixel_values": video}) for video in videos]


def build_mixed_media(
    config: Mapping[str, Any], inputs: Mapping[str, Any]
) -> dict[Modality, list[TowerInput]]:
    """Build tower inputs of images in tiles and videos in frames, for ``Family.split_tower_inputs``."""
    media: dict[Modality, list[TowerInput]] = {
        "image": build_tiled_images(config, inputs),
        "video": build_frame_videos(inputs),
    }
    return {modality: items for modality, items in media.items() if items}
