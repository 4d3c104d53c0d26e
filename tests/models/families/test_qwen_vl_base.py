"""Qwen: the processor's arrays, split by media."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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


def draw_patches(grids: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Draw float32 [patches, 2] without equal numbers."""
    return np.arange(2 * sum(int(np.prod(grid)) for grid in grids), dtype=np.float32).reshape(-1, 2)


@given(images=GRIDS, videos=GRIDS)
def test_media_add_up_to_the_arrays(images: list[tuple[int, ...]], videos: list[tuple[int, ...]]) -> None:
    inputs: dict[str, np.ndarray] = {}
    for modality, grids in (("image", images), ("video", videos)):
        pixels, grid = NAMES[modality]
        inputs |= {pixels: draw_patches(grids), grid: np.array(grids)}
    media = FAMILY.split_tower_inputs({}, inputs, ())
    for modality, grids in (("image", images), ("video", videos)):
        items = media[modality]  # type: ignore[index]
        assert [item.fields for item in items] == [{"grid": grid} for grid in grids]
        assert [len(item.arrays["pixel_values"]) for item in items] == [np.prod(grid) for grid in grids]
        joined = np.concatenate([item.arrays["pixel_values"] for item in items])
        np.testing.assert_array_equal(joined, inputs[NAMES[modality][0]])


def test_patches_outside_of_all_grids_are_kept() -> None:
    inputs = {"pixel_values": draw_patches([(1, 3, 3)]), "image_grid_thw": np.array([[1, 2, 2], [1, 2, 1]])}
    sizes = [len(item.arrays["pixel_values"]) for item in FAMILY.split_tower_inputs({}, inputs, ())["image"]]
    assert sizes == [4, 5]


def test_grid_of_a_single_medium_may_lack_the_axis_of_items() -> None:
    grid = (1, 2, 3)
    (item,) = FAMILY.split_tower_inputs(
        {}, {"pixel_values": draw_patches([grid]), "image_grid_thw": np.array(grid)}, ()
    )["image"]
    assert item.fields == {"grid": grid}


def test_text_has_no_media() -> None:
    assert FAMILY.split_tower_inputs({}, {"input_ids": np.zeros((1, 3))}, ()) == {}


@pytest.mark.parametrize("seconds", [np.array([0.5, 1.0], np.float32), [0.5, 1.0]])
def test_qwen2_5_vl_has_the_seconds_per_grid_of_each_video(seconds: object) -> None:
    grids = [(2, 2, 2), (1, 2, 2)]
    inputs = {
        "pixel_values_videos": draw_patches(grids),
        "video_grid_thw": np.array(grids),
        "second_per_grid_ts": seconds,
    }
    videos = load_family("qwen2_5_vl").split_tower_inputs({}, inputs, ())["video"]
    assert [video.fields["second_per_grid"] for video in videos] == [(0.5,), (1.0,)]
    assert all(
        "second_per_grid" not in video.fields for video in FAMILY.split_tower_inputs({}, inputs, ())["video"]
    )


@pytest.mark.parametrize(
    ("names", "fps", "options"),
    [
        (("Qwen2_5_VLVideosProcessorKwargs",), (2.0, 7.0), {"fps": [2.0, 7.0]}),
        (("Qwen2_5_VLVideosProcessorKwargs",), (0.0,), {}),  # a file that is not opened yet
        (("Qwen2_5_VLVideosProcessorKwargs",), (), {}),
        ((), (2.0, 7.0), {}),  # transformers 5, which reads the metadata
    ],
)
def test_qwen2_5_vl_passes_rates_only_before_transformers_5(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], fps: tuple[float, ...], options: object
) -> None:
    path = "transformers.models.qwen2_5_vl.processing_qwen2_5_vl"
    processing = ModuleType(path)
    for name in names:
        setattr(processing, name, dict)
    parts = path.split(".")
    for depth in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(parts[depth - 1]))
    monkeypatch.setattr(sys.modules["transformers.models.qwen2_5_vl"], parts[-1], processing, raising=False)
    monkeypatch.setitem(sys.modules, path, processing)
    videos = [MediumInfo("video", frames=4, fps=rate) for rate in fps]
    assert load_family("qwen2_5_vl").get_processor_options([MediumInfo("image"), *videos]) == options
