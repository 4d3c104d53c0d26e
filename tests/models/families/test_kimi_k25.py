"""Kimi K2.5: images in one grid, videos in one grid per chunk."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

PAD, VIDEO, WORD = 5, 6, 9
CONFIG = {"image_token_id": PAD, "video_token_id": VIDEO}
FAMILY = load_family("kimi_k25")
SIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))
"""Merged patches: height and width."""
MEDIA = st.lists(st.tuples(SIDES, st.integers(0, 9)), min_size=1, max_size=4)
"""Sides, and frames; 0 for an image."""


def split_chunks(frames: int) -> list[int]:
    """Return the number of frames of each chunk."""
    return [min(4, frames - start) for start in range(0, frames, 4)]


def process(
    media: list[tuple[tuple[int, int], int]],
) -> tuple[list[int], dict[str, np.ndarray]]:
    """Build the ids and arrays of the processor; no two patches are the same."""
    ids: list[int] = [WORD]
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    for (height, width), frames in media:
        for chunk in split_chunks(frames) or [0]:
            ids += [PAD if not frames else VIDEO] * (height * width) + [WORD]
            grids["video" if frames else "image"].append([chunk or 1, 2 * height, 2 * width])
    inputs = {}
    for modality, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if grids[modality]:
            count = int(np.prod(grids[modality], axis=1).sum())
            inputs[f"{modality}_grid_thw"] = np.array(grids[modality])
            inputs[pixels] = np.arange(count * 3.0).reshape(count, 3, 1, 1)
    return ids, inputs


def build_info(frames: int) -> MediumInfo:
    return MediumInfo("video", frames) if frames else MediumInfo("image")


@given(media=MEDIA)
def test_each_medium_has_its_positions_and_its_patches(media: list[tuple[tuple[int, int], int]]) -> None:
    ids, inputs = process(media)
    spans = FAMILY.locate_spans(CONFIG, ids, inputs, [build_info(frames) for _, frames in media])
    expected = [h * w * max(1, len(split_chunks(frames))) for (h, w), frames in media]
    assert [span.embedded for span in spans] == expected
    split = FAMILY.split_tower_inputs(CONFIG, inputs, spans)
    for modality, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        own = [(h * w * 4, frames or 1) for (h, w), frames in media if bool(frames) == (modality == "video")]
        items = split.get(modality, [])  # type: ignore[call-overload]
        assert [len(item.arrays["pixel_values"]) for item in items] == [area * times for area, times in own]
        if items:
            joined = np.concatenate([item.arrays["pixel_values"] for item in items])
            np.testing.assert_array_equal(joined, inputs[pixels].reshape(len(joined), -1))


def test_text_has_no_media() -> None:
    assert FAMILY.locate_spans(CONFIG, [WORD], {}, []) == ()
    assert FAMILY.split_tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}
