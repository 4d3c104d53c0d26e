"""What the model runner of vLLM 0.8.5 to 0.10 picks out of the media."""

from __future__ import annotations

import numpy as np

from vlm_parity.backends.vllm.legacy.v0_10_positions import select_fields

GRID = np.array([4, 6, 8])
NOTHING = {
    "image_grid_thw": [],
    "video_grid_thw": [],
    "second_per_grid_ts": [],
    "audio_feature_lengths": [],
    "use_audio_in_video": False,
}


def test_grids_go_as_lists_and_seconds_as_they_are() -> None:
    seconds = np.float32(2.0)
    found = select_fields([{"video_grid_thw": GRID, "second_per_grid_ts": seconds}])
    assert found == {**NOTHING, "video_grid_thw": [[4, 6, 8]], "second_per_grid_ts": [seconds]}


def test_the_seconds_of_a_video_are_not_looked_for_under_another_name() -> None:
    found = select_fields([{"video_grid_thw": GRID, "video_second_per_grid": np.float32(2.0)}])
    assert found == {**NOTHING, "video_grid_thw": [[4, 6, 8]]}


def test_media_come_in_the_order_of_the_prompt() -> None:
    found = select_fields(
        [{"image_grid_thw": GRID}, {"image_grid_thw": GRID + 1}, {"audio_feature_lengths": 9}]
    )
    assert found["image_grid_thw"] == [[4, 6, 8], [5, 7, 9]]
    assert found["audio_feature_lengths"] == [9]


def test_only_true_itself_says_that_a_video_is_heard() -> None:
    assert not select_fields([{"use_audio_in_video": np.array([0])}])["use_audio_in_video"]
    assert select_fields([{"use_audio_in_video": True}])["use_audio_in_video"]
