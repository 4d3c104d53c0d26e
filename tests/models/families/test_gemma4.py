"""Gemma 4: padding patches, and frames of videos."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

CONFIG: dict[str, Any] = {
    "image_token_id": 7,
    "video_token_id": 8,
    "vision_config": {"pooling_kernel_size": 3},
}
FAMILY = load_family("gemma4")
MAX_PATCHES = 36
"""Patches to which every image is padded."""
GRIDS = st.tuples(st.integers(1, 2), st.integers(1, 2)).map(lambda grid: (3 * grid[0], 3 * grid[1]))
VIDEOS = st.tuples(st.integers(1, 3), GRIDS)


def fill_patches(grid: tuple[int, int], number: float) -> tuple[np.ndarray, np.ndarray]:
    """Return patches that all contain the number, and their coordinates: column, row."""
    rows, columns = grid
    patches, places = np.zeros((MAX_PATCHES, 2), np.float32), np.full((MAX_PATCHES, 2), -1)
    patches[: rows * columns] = number
    places[: rows * columns] = [(column, row) for row in range(rows) for column in range(columns)]
    return patches, places


def process(
    images: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> dict[str, np.ndarray]:
    """Build a processor's output; the patches of each medium contain its number, from 1."""
    inputs: dict[str, np.ndarray] = {}
    if images:
        patches, places = zip(
            *(fill_patches(grid, 1 + item) for item, grid in enumerate(images)), strict=True
        )
        inputs |= {"pixel_values": np.stack(patches), "image_position_ids": np.stack(places)}
    if videos:
        frames = [
            fill_patches(grid, 1 + item) for item, (count, grid) in enumerate(videos) for _ in range(count)
        ]
        patches, places = zip(*frames, strict=True)
        inputs |= {"pixel_values_videos": np.stack(patches), "video_position_ids": np.stack(places)}
        inputs["num_frames_per_video"] = np.array([count for count, _ in videos])
    return inputs


@given(images=st.lists(GRIDS, max_size=3), videos=st.lists(VIDEOS, max_size=3))
def test_each_medium_has_its_own_patches(
    images: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> None:
    inputs = process(images, videos)
    found = FAMILY.split_tower_inputs(CONFIG, inputs, ())
    assert [given.fields for given in found.get("image", [])] == [
        {"frames": (1,), "grid": grid} for grid in images
    ]
    assert [given.fields for given in found.get("video", [])] == [
        {"frames": (count,), "grid": grid} for count, grid in videos
    ]
    for media in found.values():
        for item, medium in enumerate(media):
            pixels = medium.arrays["pixel_values"]
            assert (pixels == 1 + item).all()
            assert len(pixels) == np.prod(medium.fields["grid"]) * medium.fields["frames"][0]


@given(images=st.lists(GRIDS, max_size=3), videos=st.lists(VIDEOS, max_size=3))
def test_nine_patches_share_one_position(
    images: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> None:
    media = [MediumInfo("image") for _ in images] + [MediumInfo("video", count) for count, _ in videos]
    spans = FAMILY.locate_spans(CONFIG, [7] * 50 + [8] * 50, process(images, videos), media)
    assert [(span.modality, span.item, span.embedded) for span in spans] == [
        *(("image", item, rows * columns // 9) for item, (rows, columns) in enumerate(images)),
        *(("video", item, n * rows * columns // 9) for item, (n, (rows, columns)) in enumerate(videos)),
    ]


def test_single_image_of_an_engine_may_lack_the_axis_of_images() -> None:
    patches, places = fill_patches((3, 6), 1)
    inputs = {"pixel_values": patches, "image_position_ids": places}
    (image,) = FAMILY.split_tower_inputs(CONFIG, inputs, ())["image"]
    assert image.fields == {"frames": (1,), "grid": (3, 6)}
