"""The omni families: sounds without their padding, spans that interleave, what a processor is told."""

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
IMAGE, SOUND = MediumInfo("image"), MediumInfo("audio")
CLIP, HEARD = (MediumInfo("video", frames=4, fps=2.0, has_audio_track=heard) for heard in (False, True))
FRAMES = st.lists(st.integers(1, 20), min_size=1, max_size=4)

each_family = pytest.mark.parametrize("family", FAMILIES, ids=NAMES)


def padded(lengths: list[int], side: str) -> dict[str, np.ndarray]:
    """Sounds of so many mel frames with 4 bins, no value twice, padded with -1 to 25 frames."""
    features = np.full((len(lengths), 4, 25), -1, np.float32)
    mask = np.zeros((len(lengths), 25), np.int32)
    for item, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(25 - length, 25)
        features[item, :, place] = 1000 * item + np.arange(4 * length).reshape(4, length)
        mask[item, place] = 1
    return {"input_features": features, "feature_attention_mask": mask}


@given(lengths=FRAMES, side=st.sampled_from(["left", "right"]))
def test_a_sound_has_its_frames_without_the_padding(lengths: list[int], side: str) -> None:
    found = FAMILIES[0].tower_inputs(CONFIG, padded(lengths, side), ())["audio"]
    for item, (sound, length) in enumerate(zip(found, lengths, strict=True)):
        expected = 1000 * item + np.arange(4 * length).reshape(4, length).T
        np.testing.assert_array_equal(sound.arrays["input_features"], expected)


def test_a_sound_that_an_engine_has_cut_is_taken_as_it_is() -> None:
    cut = np.arange(12, dtype=np.float32).reshape(4, 3)
    (sound,) = FAMILIES[0].tower_inputs(CONFIG, {"input_features": cut}, ())["audio"]
    np.testing.assert_array_equal(sound.arrays["input_features"], cut.T)


@given(frames=st.integers(1, 3000), seconds=st.integers(0, 20))
def test_every_second_takes_as_many_positions(frames: int, seconds: int) -> None:
    for family, a_second in zip(FAMILIES, (25, 13), strict=True):
        longer = family.audio_positions(frames + 100 * seconds)
        assert longer == family.audio_positions(frames) + a_second * seconds


@each_family
def test_a_heard_video_is_dealt_its_sound(family: QwenOmniFamily) -> None:
    inputs: dict[str, Any] = {
        "video_grid_thw": np.array([[2, 2, 2]]),
        "pixel_values_videos": np.zeros((8, 1), np.float32),
        **padded([8, 8], "right"),
    }
    count = family.audio_positions(8)
    ids = [0, 2, *[3] * count, 2, 0, *[3] * count]
    spans = family.spans(CONFIG, ids, inputs, [HEARD, SOUND])
    assert [(span.modality, span.item) for span in spans] == [("video", 0), ("audio", 0), ("audio", 1)]
    assert spans[0].positions == [1, 2 + count]
    assert spans[1].positions == list(range(2, 2 + count))
    assert spans[2].positions == list(range(4 + count, 4 + 2 * count))


@each_family
def test_the_processor_is_told_the_rate_and_whether_to_listen(family: QwenOmniFamily) -> None:
    assert family.processor_options([IMAGE, SOUND]) == {}
    assert family.processor_options([IMAGE, CLIP, SOUND]) == {"fps": 2.0}
    assert family.processor_options([HEARD]) == {"fps": 2.0, "use_audio_in_video": True}


@each_family
def test_two_rates_cannot_be_told(family: QwenOmniFamily) -> None:
    with pytest.raises(ValueError, match="one frame rate a request"):
        family.processor_options([CLIP, MediumInfo("video", frames=4, fps=3.0)])


@each_family
def test_the_template_marks_every_medium(family: QwenOmniFamily) -> None:
    template = family.chat_template()
    assert "@" not in template
    for name in ("image_token", "video_token", "audio_token"):
        assert template.count(family.named_tokens[name]) == 1
