"""Processor kwargs, and the properties of media on which they depend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs, collect_medium_info
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.schema.case import Case, Message, ProcessorKwargs
from vlm_parity.schema.trace import FrameSampling

FRAMES = np.zeros((4, 2, 2, 3), np.uint8)
AUDIO = DecodedAudio(np.zeros(8, np.float32), 16000)
VIDEO_WITH_AUDIO = DecodedVideo(FRAMES, 2.0, AUDIO)


def make_checkpoint(family: str) -> Checkpoint:
    return Checkpoint("any", family, Path(), "any", "")


def make_request(kwargs: ProcessorKwargs | None = None) -> Request:
    messages = (Message(role="user", content="Hi"),)
    case = Case(name="any", summary="s", messages=messages, processor_kwargs=kwargs)
    return Request(case, (VIDEO_WITH_AUDIO,))


def test_properties_of_decoded_media() -> None:
    assert collect_medium_info([DecodedVideo(FRAMES, 3.0), AUDIO, VIDEO_WITH_AUDIO]) == [
        MediumInfo("video", 4, 3.0),
        MediumInfo("audio"),
        MediumInfo("video", 4, 2.0, has_audio_track=True),
    ]


def test_a_video_file_has_the_sampled_frames() -> None:
    video_file = EncodedMedium("video", b"", "video/mp4")
    sampling = FrameSampling(decoder="d", total=30, fps=30.0, indices=(0, 15, 29))
    assert collect_medium_info([video_file], [sampling]) == [MediumInfo("video", 3)]
    assert collect_medium_info([video_file, EncodedMedium("image", b"", "image/png")]) == [
        MediumInfo("video"),
        MediumInfo("image"),
    ]


@pytest.mark.parametrize(
    ("family", "expected"),
    [("qwen2_5_omni", {"fps": 2.0, "use_audio_in_video": True}), ("qwen2_vl", {}), ("unknown", {})],
)
def test_the_family_sets_the_kwargs_that_it_requires(family: str, expected: dict[str, object]) -> None:
    assert build_processor_kwargs(make_checkpoint(family), make_request()) == expected


def test_kwargs_of_the_case_override_those_of_the_family() -> None:
    kwargs = ProcessorKwargs(fps=4, min_pixels=100)
    expected = {"fps": 4, "use_audio_in_video": True, "min_pixels": 100}
    assert build_processor_kwargs(make_checkpoint("qwen2_5_omni"), make_request(kwargs)) == expected
    assert build_processor_kwargs(make_checkpoint("unknown"), make_request(kwargs)) == kwargs.as_kwargs
