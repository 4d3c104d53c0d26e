"""Kimi K2.5: pictures in one grid, videos in one grid a chunk."""

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
"""Merged patches up and across."""
MEDIA = st.lists(st.tuples(SIDES, st.integers(0, 9)), min_size=1, max_size=4)
"""Sides, and frames; none of a picture."""


def chunks(frames: int) -> list[int]:
    """The frames of each chunk."""
    return [min(4, frames - start) for start in range(0, frames, 4)]


def prompt_and_inputs(
    media: list[tuple[tuple[int, int], int]],
) -> tuple[list[int], dict[str, np.ndarray]]:
    """As the processor makes them; every patch holds a number of its own."""
    ids: list[int] = [WORD]
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    for (height, width), frames in media:
        for chunk in chunks(frames) or [0]:
            ids += [PAD if not frames else VIDEO] * (height * width) + [WORD]
            grids["video" if frames else "image"].append([chunk or 1, 2 * height, 2 * width])
    inputs = {}
    for modality, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if grids[modality]:
            count = int(np.prod(grids[modality], axis=1).sum())
            inputs[f"{modality}_grid_thw"] = np.array(grids[modality])
            inputs[pixels] = np.arange(count * 3.0).reshape(count, 3, 1, 1)
    return ids, inputs


def offered(frames: int) -> MediumInfo:
    return MediumInfo("video", frames) if frames else MediumInfo("image")


@given(media=MEDIA)
def test_every_medium_has_its_positions_and_its_patches(media: list[tuple[tuple[int, int], int]]) -> None:
    ids, inputs = prompt_and_inputs(media)
    spans = FAMILY.spans(CONFIG, ids, inputs, [offered(frames) for _, frames in media])
    expected = [h * w * max(1, len(chunks(frames))) for (h, w), frames in media]
    assert [span.embedded for span in spans] == expected
    found = FAMILY.tower_inputs(CONFIG, inputs, spans)
    for modality, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        own = [(h * w * 4, frames or 1) for (h, w), frames in media if bool(frames) == (modality == "video")]
        items = found.get(modality, [])  # type: ignore[call-overload]
        assert [len(item.arrays["pixel_values"]) for item in items] == [area * times for area, times in own]
        if items:
            joined = np.concatenate([item.arrays["pixel_values"] for item in items])
            np.testing.assert_array_equal(joined, inputs[pixels].reshape(len(joined), -1))


def test_text_has_no_media() -> None:
    assert FAMILY.spans(CONFIG, [WORD], {}, []) == ()
    assert FAMILY.tower_inputs(CONFIG, {"input_ids": np.zeros((1, 3))}, ()) == {}
