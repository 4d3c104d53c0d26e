"""Evidence that a request ran in its mode, and errors if it did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.requests import IMAGE_PART, TEXT_PART, VIDEO_PART, make_request
from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.modes import (
    EngineStep,
    build_batch_requests,
    build_decoy,
    check_batched,
    describe_cache_use,
    describe_chunks,
)
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Image
from vlm_parity.schema.trace import Span
from vlm_parity.util.errors import EngineError, ModeNotApplicableError

TEXT = Inputs("", tuple(range(20)), ())
TWO_IMAGES = Inputs(
    "", tuple(range(40)), (Span.of("image", 0, range(9, 18)), Span.of("image", 1, range(20, 30)))
)


def make_steps(*firsts: int) -> list[EngineStep]:
    return [EngineStep(first, 9, 1) for first in firsts]


def test_a_batch_is_described_by_its_sizes() -> None:
    assert check_batched([3, 3]) == "3 requests in each of 2 steps"
    assert check_batched([2, 3, 3]) == "2 to 3 requests in each of 3 steps"


def test_a_step_of_one_request_is_not_a_batch() -> None:
    with pytest.raises(EngineError, match=r"the steps held \[3, 1\] requests"):
        check_batched([3, 1])


def test_a_split_inside_a_span_splits_its_medium_and_one_at_its_border_does_not() -> None:
    steps = make_steps(0, 9, 18, 27, 40)
    assert describe_chunks(TWO_IMAGES, steps) == "prompt split at 9, 18, 27; split media: image 1"
    with pytest.raises(ModeNotApplicableError, match="prompt split at 9, 18, 30, which splits no medium"):
        describe_chunks(TWO_IMAGES, make_steps(0, 9, 18, 30))
    description = describe_chunks(TWO_IMAGES, make_steps(0, 9), splits_media=False)
    assert description == "prompt split at 9; split media: none"


def test_a_text_is_split_without_a_medium() -> None:
    assert describe_chunks(TEXT, make_steps(0, 9, 18, 20, 21)) == "prompt split at 9, 18"
    with pytest.raises(ModeNotApplicableError, match="the prompt of 20 ids was not split"):
        describe_chunks(TEXT, make_steps(0, 20, 21))


def test_many_splits_are_abbreviated() -> None:
    long = Inputs("", tuple(range(100)), ())
    assert describe_chunks(long, make_steps(*range(0, 100, 10))).endswith("70, 80 and 1 more positions")


def test_a_cache_hit_is_described_by_its_length() -> None:
    assert describe_cache_use(TWO_IMAGES, 32, 32) == "32 of 40 prompt positions from the prefix cache"


def test_a_cache_that_also_held_other_media_is_described_so() -> None:
    inputs = replace(TWO_IMAGES, decoy={})
    assert describe_cache_use(inputs, 32, 32).endswith(
        ", which also held the same conversation with other media"
    )


def test_a_decoy_has_other_media_of_the_same_sizes() -> None:
    part = {"audio": {"waveform": "sweep", "seconds": 0.1}}
    request = make_request(IMAGE_PART, VIDEO_PART, part, TEXT_PART)
    decoy = build_decoy(request)
    assert decoy is not None
    assert decoy.case == request.case
    (image, video, audio), (own_image, own_video, own_audio) = decoy.media, request.media
    assert isinstance(image, Image)
    assert isinstance(own_image, Image)
    assert (image.size, image.mode) == (own_image.size, own_image.mode)
    assert image.tobytes() != own_image.tobytes()
    assert isinstance(video, DecodedVideo)
    assert isinstance(own_video, DecodedVideo)
    assert video.fps == own_video.fps
    assert (video.frames != own_video.frames).all()
    assert isinstance(audio, DecodedAudio)
    assert isinstance(own_audio, DecodedAudio)
    assert audio.samples.shape == own_audio.samples.shape
    assert not np.array_equal(audio.samples, own_audio.samples)


def test_a_text_has_no_decoy() -> None:
    assert build_decoy(make_request(TEXT_PART)) is None


def test_a_prompt_that_fills_no_block_cannot_be_cached() -> None:
    with pytest.raises(
        ModeNotApplicableError, match="no cache hit: the ids before the last of 20 fill no block of 20"
    ):
        describe_cache_use(TEXT, 0, 20)
    with pytest.raises(EngineError, match="20 ids was sent twice, but nothing came from the prefix cache"):
        describe_cache_use(TEXT, 0, 19)


def test_an_engine_that_does_not_split_media_may_find_no_block() -> None:
    inside = Inputs("", tuple(range(40)), (Span.of("image", 0, range(2, 39)),))
    with pytest.raises(ModeNotApplicableError, match="every block of 16 ends inside a medium"):
        describe_cache_use(inside, 0, 16, splits_media=False)
    with pytest.raises(EngineError, match="nothing came from the prefix cache"):
        describe_cache_use(inside, 0, 16)
    with pytest.raises(EngineError, match="nothing came from the prefix cache"):
        describe_cache_use(TWO_IMAGES, 0, 18, splits_media=False)


def test_the_companions_are_an_image_and_a_text() -> None:
    assert [request.case.modalities for request in build_batch_requests()] == [("image",), ()]
