"""What a processor is told of the media."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.processor_kwargs import offered, processor_options
from vlm_parity.media.load import Audio, Encoded, Video
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.families.base import Offered
from vlm_parity.schema.case import Case, Message, ProcessorArguments
from vlm_parity.schema.trace import Sampling

FRAMES = np.zeros((4, 2, 2, 3), np.uint8)
SOUND = Audio(np.zeros(8, np.float32), 16000)
HEARD = Video(FRAMES, 2.0, SOUND)


def checkpoint(family: str) -> Checkpoint:
    return Checkpoint("any", family, Path(), "any", "")


def request(told: ProcessorArguments | None = None) -> Request:
    messages = (Message(role="user", content="Hi"),)
    return Request(Case(name="any", summary="s", messages=messages, processor_kwargs=told), (HEARD,))


def test_what_is_known_of_decoded_media() -> None:
    assert offered([Video(FRAMES, 3.0), SOUND, HEARD]) == [
        Offered("video", 4, 3.0),
        Offered("audio"),
        Offered("video", 4, 2.0, is_heard=True),
    ]


def test_a_file_has_the_frames_that_were_taken() -> None:
    film = Encoded("video", b"", "video/mp4")
    taken = Sampling(decoder="d", total=30, fps=30.0, indices=(0, 15, 29))
    assert offered([film], [taken]) == [Offered("video", 3)]
    assert offered([film, Encoded("image", b"", "image/png")]) == [Offered("video"), Offered("image")]


@pytest.mark.parametrize(
    ("family", "expected"),
    [("qwen2_5_omni", {"fps": 2.0, "use_audio_in_video": True}), ("qwen2_vl", {}), ("nobody", {})],
)
def test_the_family_decides(family: str, expected: dict[str, object]) -> None:
    assert processor_options(checkpoint(family), request()) == expected


def test_what_the_case_tells_goes_over_what_the_family_does() -> None:
    told = ProcessorArguments(fps=4, min_pixels=100)
    expected = {"fps": 4, "use_audio_in_video": True, "min_pixels": 100}
    assert processor_options(checkpoint("qwen2_5_omni"), request(told)) == expected
    assert processor_options(checkpoint("nobody"), request(told)) == told.told
