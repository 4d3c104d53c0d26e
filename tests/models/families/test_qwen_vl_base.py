"""Qwen: the processor's arrays, cut into media."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.registry import load_family

GRIDS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4)
NAMES = {
    "image": ("pixel_values", "image_grid_thw"),
    "video": ("pixel_values_videos", "video_grid_thw"),
}
FAMILY = load_family("qwen2_vl")


def patches(grids: list[tuple[int, ...]]) -> np.ndarray:
    """float32 [patches, 2], no two the same."""
    return np.arange(2 * sum(int(np.prod(grid)) for grid in grids), dtype=np.float32).reshape(-1, 2)


@given(images=GRIDS, videos=GRIDS)
def test_the_media_put_together_are_the_whole(
    images: list[tuple[int, ...]], videos: list[tuple[int, ...]]
) -> None:
    inputs = {}
    for modality, grids in (("image", images), ("video", videos)):
        pixels, grid = NAMES[modality]
        inputs |= {pixels: patches(grids), grid: np.array(grids)}
    found = FAMILY.tower_inputs({}, inputs, ())
    for modality, grids in (("image", images), ("video", videos)):
        items = found[modality]  # type: ignore[index]
        assert [item.fields for item in items] == [{"grid": grid} for grid in grids]
        assert [len(item.arrays["pixel_values"]) for item in items] == [np.prod(grid) for grid in grids]
        joined = np.concatenate([item.arrays["pixel_values"] for item in items])
        np.testing.assert_array_equal(joined, inputs[NAMES[modality][0]])


def test_patches_that_no_grid_counts_are_kept() -> None:
    inputs = {"pixel_values": patches([(1, 3, 3)]), "image_grid_thw": np.array([[1, 2, 2], [1, 2, 1]])}
    sizes = [len(item.arrays["pixel_values"]) for item in FAMILY.tower_inputs({}, inputs, ())["image"]]
    assert sizes == [4, 5]


def test_one_medium_of_an_engine_has_its_grid_without_an_axis_of_items() -> None:
    grid = (1, 2, 3)
    (item,) = FAMILY.tower_inputs(
        {}, {"pixel_values": patches([grid]), "image_grid_thw": np.array(grid)}, ()
    )["image"]
    assert item.fields == {"grid": grid}


def test_text_has_no_media() -> None:
    assert FAMILY.tower_inputs({}, {"input_ids": np.zeros((1, 3))}, ()) == {}


@pytest.mark.parametrize("seconds", [np.float32([0.5, 1.0]), [0.5, 1.0]])
def test_qwen2_5_vl_is_told_the_seconds_of_each_video(seconds: object) -> None:
    grids = [(2, 2, 2), (1, 2, 2)]
    inputs = {
        "pixel_values_videos": patches(grids),
        "video_grid_thw": np.array(grids),
        "second_per_grid_ts": seconds,
    }
    videos = load_family("qwen2_5_vl").tower_inputs({}, inputs, ())["video"]
    assert [video.fields["second_per_grid"] for video in videos] == [(0.5,), (1.0,)]
    assert all(
        "second_per_grid" not in video.fields for video in FAMILY.tower_inputs({}, inputs, ())["video"]
    )


@pytest.mark.parametrize(
    ("known", "fps", "told"),
    [
        (("Qwen2_5_VLVideosProcessorKwargs",), (2.0, 7.0), {"fps": [2.0, 7.0]}),
        (("Qwen2_5_VLVideosProcessorKwargs",), (0.0,), {}),  # a file that nobody has opened
        (("Qwen2_5_VLVideosProcessorKwargs",), (), {}),
        ((), (2.0, 7.0), {}),  # transformers 5, which reads the metadata
    ],
)
def test_qwen2_5_vl_is_told_rates_where_its_processor_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], fps: tuple[float, ...], told: object
) -> None:
    path = "transformers.models.qwen2_5_vl.processing_qwen2_5_vl"
    processing = ModuleType(path)
    for name in known:
        setattr(processing, name, dict)
    parts = path.split(".")
    for depth in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(parts[depth - 1]))
    monkeypatch.setattr(sys.modules["transformers.models.qwen2_5_vl"], parts[-1], processing, raising=False)
    monkeypatch.setitem(sys.modules, path, processing)
    videos = [MediumInfo("video", frames=4, fps=rate) for rate in fps]
    assert load_family("qwen2_5_vl").processor_options([MediumInfo("image"), *videos]) == told
