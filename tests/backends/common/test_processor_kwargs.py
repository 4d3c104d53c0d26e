"""What a processor is told of the media."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.processor_kwargs import build_processor_kwargs, media_info
from vlm_parity.media.load import DecodedAudio, DecodedVideo, EncodedMedium
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import MediumInfo
from vlm_parity.schema.case import Case, Message, ProcessorKwargs
from vlm_parity.schema.trace import FrameSampling

FRAMES = np.zeros((4, 2, 2, 3), np.uint8)
SOUND = DecodedAudio(np.zeros(8, np.float32), 16000)
HEARD = DecodedVideo(FRAMES, 2.0, SOUND)


def checkpoint(family: str) -> Checkpoint:
    return Checkpoint("any", family, Path(), "any", "")


def request(told: ProcessorKwargs | None = None) -> Request:
    messages = (Message(role="user", content="Hi"),)
    return Request(Case(name="any", summary="s", messages=messages, processor_kwargs=told), (HEARD,))


def test_what_is_known_of_decoded_media() -> None:
    assert media_info([DecodedVideo(FRAMES, 3.0), SOUND, HEARD]) == [
        MediumInfo("video", 4, 3.0),
        MediumInfo("audio"),
        MediumInfo("video", 4, 2.0, has_audio_track=True),
    ]


def test_a_file_has_the_frames_that_were_taken() -> None:
    film = EncodedMedium("video", b"", "video/mp4")
    taken = FrameSampling(decoder="d", total=30, fps=30.0, indices=(0, 15, 29))
    assert media_info([film], [taken]) == [MediumInfo("video", 3)]
    assert media_info([film, EncodedMedium("image", b"", "image/png")]) == [
        MediumInfo("video"),
        MediumInfo("image"),
    ]


@pytest.mark.parametrize(
    ("family", "expected"),
    [("qwen2_5_omni", {"fps": 2.0, "use_audio_in_video": True}), ("qwen2_vl", {}), ("nobody", {})],
)
def test_the_family_decides(family: str, expected: dict[str, object]) -> None:
    assert build_processor_kwargs(checkpoint(family), request()) == expected


def test_what_the_case_tells_goes_over_what_the_family_does() -> None:
    told = ProcessorKwargs(fps=4, min_pixels=100)
    expected = {"fps": 4, "use_audio_in_video": True, "min_pixels": 100}
    assert build_processor_kwargs(checkpoint("qwen2_5_omni"), request(told)) == expected
    assert build_processor_kwargs(checkpoint("nobody"), request(told)) == told.as_kwargs
