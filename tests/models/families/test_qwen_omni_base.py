"""The omni families: audio without padding, interleaved spans, processor options."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.models.families.base import MediumInfo
from vlm_parity.models.families.qwen_omni_base import QwenOmniFamily
from vlm_parity.models.registry import load_family

NAMES = ("qwen2_5_omni", "qwen3_omni_moe")
FAMILIES = [cast(QwenOmniFamily, load_family(name)) for name in NAMES]
CONFIG = {
    "thinker_config": {
        "image_token_id": 1,
        "video_token_id": 2,
        "audio_token_id": 3,
        "vision_config": {"spatial_merge_size": 2},
    }
}
IMAGE, AUDIO = MediumInfo("image"), MediumInfo("audio")
VIDEO, VIDEO_WITH_AUDIO = (
    MediumInfo("video", frames=4, fps=2.0, has_audio_track=has_audio_track)
    for has_audio_track in (False, True)
)
FRAMES = st.lists(st.integers(1, 20), min_size=1, max_size=4)

for_each_family = pytest.mark.parametrize("family", FAMILIES, ids=NAMES)


def pad(lengths: list[int], side: str) -> dict[str, np.ndarray]:
    """Return audio of these lengths in mel frames with 4 bins, no value twice, padded with -1 to 25."""
    features = np.full((len(lengths), 4, 25), -1, np.float32)
    mask = np.zeros((len(lengths), 25), np.int32)
    for item, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(25 - length, 25)
        features[item, :, place] = 1000 * item + np.arange(4 * length).reshape(4, length)
        mask[item, place] = 1
    return {"input_features": features, "feature_attention_mask": mask}


@given(lengths=FRAMES, side=st.sampled_from(["left", "right"]))
def test_audio_has_its_frames_without_padding(lengths: list[int], side: str) -> None:
    items = FAMILIES[0].split_tower_inputs(CONFIG, pad(lengths, side), ())["audio"]
    for item, (audio, length) in enumerate(zip(items, lengths, strict=True)):
        expected = 1000 * item + np.arange(4 * length).reshape(4, length).T
        np.testing.assert_array_equal(audio.arrays["input_features"], expected)


def test_audio_without_padding_is_kept() -> None:
    cut = np.arange(12, dtype=np.float32).reshape(4, 3)
    (audio,) = FAMILIES[0].split_tower_inputs(CONFIG, {"input_features": cut}, ())["audio"]
    np.testing.assert_array_equal(audio.arrays["input_features"], cut.T)


@given(frames=st.integers(1, 3000), seconds=st.integers(0, 20))
def test_each_second_has_the_same_number_of_positions(frames: int, seconds: int) -> None:
    for family, per_second in zip(FAMILIES, (25, 13), strict=True):
        longer = family.count_audio_positions(frames + 100 * seconds)
        assert longer == family.count_audio_positions(frames) + per_second * seconds


@for_each_family
def test_audio_track_of_a_video_follows_the_video(family: QwenOmniFamily) -> None:
    inputs: dict[str, Any] = {
        "video_grid_thw": np.array([[2, 2, 2]]),
        "pixel_values_videos": np.zeros((8, 1), np.float32),
        **pad([8, 8], "right"),
    }
    count = family.count_audio_positions(8)
    ids = [0, 2, *[3] * count, 2, 0, *[3] * count]
    spans = family.locate_spans(CONFIG, ids, inputs, [VIDEO_WITH_AUDIO, AUDIO])
    assert [(span.modality, span.item) for span in spans] == [("video", 0), ("audio", 0), ("audio", 1)]
    assert spans[0].positions == [1, 2 + count]
    assert spans[1].positions == list(range(2, 2 + count))
    assert spans[2].positions == list(range(4 + count, 4 + 2 * count))


@for_each_family
def test_processor_options_are_the_rate_and_the_use_of_audio(family: QwenOmniFamily) -> None:
    assert family.get_processor_options([IMAGE, AUDIO]) == {}
    assert family.get_processor_options([IMAGE, VIDEO, AUDIO]) == {"fps": 2.0}
    assert family.get_processor_options([VIDEO_WITH_AUDIO]) == {"fps": 2.0, "use_audio_in_video": True}


@for_each_family
def test_two_rates_are_an_error(family: QwenOmniFamily) -> None:
    with pytest.raises(ValueError, match="one frame rate a request"):
        family.get_processor_options([VIDEO, MediumInfo("video", frames=4, fps=3.0)])
