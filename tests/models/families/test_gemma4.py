"""Gemma 4: patches that fill up, and frames of videos."""

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
MOST = 36
"""Patches that every picture is filled up to."""
GRIDS = st.tuples(st.integers(1, 2), st.integers(1, 2)).map(lambda grid: (3 * grid[0], 3 * grid[1]))
VIDEOS = st.tuples(st.integers(1, 3), GRIDS)


def filled(grid: tuple[int, int], number: float) -> tuple[np.ndarray, np.ndarray]:
    """Patches that all hold the number, and where they lie: column, row."""
    rows, columns = grid
    patches, places = np.zeros((MOST, 2), np.float32), np.full((MOST, 2), -1)
    patches[: rows * columns] = number
    places[: rows * columns] = [(column, row) for row in range(rows) for column in range(columns)]
    return patches, places


def processed(
    pictures: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> dict[str, np.ndarray]:
    """What the processor returns; every medium's patches hold its number, from 1."""
    found = {}
    if pictures:
        patches, places = zip(*(filled(grid, 1 + item) for item, grid in enumerate(pictures)), strict=True)
        found |= {"pixel_values": np.stack(patches), "image_position_ids": np.stack(places)}
    if videos:
        frames = [filled(grid, 1 + item) for item, (count, grid) in enumerate(videos) for _ in range(count)]
        patches, places = zip(*frames, strict=True)
        found |= {"pixel_values_videos": np.stack(patches), "video_position_ids": np.stack(places)}
        found["num_frames_per_video"] = np.array([count for count, _ in videos])
    return found


@given(pictures=st.lists(GRIDS, max_size=3), videos=st.lists(VIDEOS, max_size=3))
def test_every_medium_has_its_own_patches(
    pictures: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> None:
    inputs = processed(pictures, videos)
    found = FAMILY.tower_inputs(CONFIG, inputs, ())
    assert [given.fields for given in found.get("image", [])] == [
        {"frames": (1,), "grid": grid} for grid in pictures
    ]
    assert [given.fields for given in found.get("video", [])] == [
        {"frames": (count,), "grid": grid} for count, grid in videos
    ]
    for media in found.values():
        for item, medium in enumerate(media):
            pixels = medium.arrays["pixel_values"]
            assert (pixels == 1 + item).all()
            assert len(pixels) == np.prod(medium.fields["grid"]) * medium.fields["frames"][0]


@given(pictures=st.lists(GRIDS, max_size=3), videos=st.lists(VIDEOS, max_size=3))
def test_nine_patches_are_one_position(
    pictures: list[tuple[int, int]], videos: list[tuple[int, tuple[int, int]]]
) -> None:
    media = [MediumInfo("image") for _ in pictures] + [MediumInfo("video", count) for count, _ in videos]
    spans = FAMILY.spans(CONFIG, [7] * 50 + [8] * 50, processed(pictures, videos), media)
    assert [(span.modality, span.item, span.embedded) for span in spans] == [
        *(("image", item, rows * columns // 9) for item, (rows, columns) in enumerate(pictures)),
        *(("video", item, n * rows * columns // 9) for item, (n, (rows, columns)) in enumerate(videos)),
    ]


def test_one_medium_of_an_engine_has_no_axis_of_media() -> None:
    patches, places = filled((3, 6), 1)
    inputs = {"pixel_values": patches, "image_position_ids": places}
    (picture,) = FAMILY.tower_inputs(CONFIG, inputs, ())["image"]
    assert picture.fields == {"frames": (1,), "grid": (3, 6)}
