"""Conversations in the form that vLLM's chat takes."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image
import pytest

from vlm_parity.backends.base import Request
from vlm_parity.backends.vllm.chat import build_conversation
from vlm_parity.backends.vllm.legacy.v0_10_chat import to_data_url
from vlm_parity.schema.case import Case

PICTURE = PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


@pytest.fixture
def request_() -> Request:
    parts = [{"image": {"pattern": "plain", "size": [4, 4]}}, {"text": "What?"}]
    case = Case.model_validate(
        {"name": "one", "summary": "One.", "messages": [{"role": "user", "content": parts}]}
    )
    return Request(case, (PICTURE,))


def test_a_decoded_picture_goes_in_as_it_is(request_: Request) -> None:
    (message,) = build_conversation(request_)
    assert message == {
        "role": "user",
        "content": [{"type": "image_pil", "image_pil": PICTURE}, {"type": "text", "text": "What?"}],
    }


def test_older_releases_get_every_bit_of_it_as_a_url(request_: Request) -> None:
    part = build_conversation(request_, to_data_url)[0]["content"][0]
    head, _, body = part["image_url"]["url"].partition(",")
    assert (part["type"], head) == ("image_url", "data:image/png;base64")
    assert np.array_equal(PIL.Image.open(io.BytesIO(base64.b64decode(body))), PICTURE)
