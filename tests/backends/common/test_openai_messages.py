"""Conversations as OpenAI messages, in the form of each engine."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.common.openai_messages import (
    ImagePartBuilder,
    build_media_io_kwargs,
    build_openai_messages,
)
from vlm_parity.backends.lmdeploy.entry_points import build_image_data_part
from vlm_parity.backends.vllm.chat import build_image_pil_part
from vlm_parity.media.load import DecodedVideo
from vlm_parity.schema.case import Case

IMAGE = PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


@pytest.fixture
def request_() -> Request:
    parts = [{"image": {"pattern": "plain", "size": [4, 4]}}, {"text": "What?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    case = Case.model_validate({"name": "one", "summary": "One.", "messages": messages})
    return Request(case, (IMAGE,))


@pytest.mark.parametrize(
    ("build_image_part", "expected"),
    [
        (build_image_pil_part, {"type": "image_pil", "image_pil": IMAGE}),
        (build_image_data_part, {"type": "image_data", "image_data": {"data": IMAGE}}),
    ],
    ids=["vllm", "lmdeploy"],
)
def test_decoded_images_keep_the_form_of_the_engine(
    request_: Request, build_image_part: ImagePartBuilder, expected: dict[str, Any]
) -> None:
    assert build_openai_messages(request_, build_image_part) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [expected, {"type": "text", "text": "What?"}]},
    ]


def test_data_urls_keep_every_bit_of_decoded_images(request_: Request) -> None:
    part = build_openai_messages(request_)[1]["content"][0]
    head, _, body = part["image_url"]["url"].partition(",")
    assert (part["type"], head) == ("image_url", "data:image/png;base64")
    sent = PIL.Image.open(io.BytesIO(base64.b64decode(body)))
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(IMAGE))


def test_decoded_videos_are_not_sampled_again() -> None:
    video = DecodedVideo(np.zeros((4, 2, 2, 3), np.uint8), 3.0)
    assert build_media_io_kwargs([video, IMAGE]) == {"video": {"fps": 3.0, "num_frames": -1}}
    assert build_media_io_kwargs([IMAGE]) is None
