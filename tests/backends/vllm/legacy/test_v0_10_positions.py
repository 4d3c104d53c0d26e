"""Fields that the model runner of vLLM 0.8.5 to 0.10 selects for the positions."""

from __future__ import annotations

import numpy as np

from vlm_parity.backends.vllm.legacy.v0_10_positions import select_fields

GRID = np.array([4, 6, 8])
EMPTY = {
    "image_grid_thw": [],
    "video_grid_thw": [],
    "second_per_grid_ts": [],
    "audio_feature_lengths": [],
    "use_audio_in_video": False,
}


def test_grids_become_lists_and_seconds_are_unchanged() -> None:
    seconds = np.float32(2.0)
    fields = select_fields([{"video_grid_thw": GRID, "second_per_grid_ts": seconds}])
    assert fields == {**EMPTY, "video_grid_thw": [[4, 6, 8]], "second_per_grid_ts": [seconds]}


def test_seconds_of_a_video_under_a_different_name_are_not_selected() -> None:
    fields = select_fields([{"video_grid_thw": GRID, "video_second_per_grid": np.float32(2.0)}])
    assert fields == {**EMPTY, "video_grid_thw": [[4, 6, 8]]}


def test_media_are_in_the_order_of_the_prompt() -> None:
    fields = select_fields(
        [{"image_grid_thw": GRID}, {"image_grid_thw": GRID + 1}, {"audio_feature_lengths": 9}]
    )
    assert fields["image_grid_thw"] == [[4, 6, 8], [5, 7, 9]]
    assert fields["audio_feature_lengths"] == [9]


def test_only_the_value_true_enables_the_audio_of_a_video() -> None:
    assert not select_fields([{"use_audio_in_video": np.array([0])}])["use_audio_in_video"]
    assert select_fields([{"use_audio_in_video": True}])["use_audio_in_video"]
