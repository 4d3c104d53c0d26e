"""The ways into vLLM: the same case is the same to its model, whichever way it goes in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.support.requests import VIDEO_PART, OTHER_IMAGE_PART, IMAGE_PART, TEXT_PART, make_request
from vlm_parity.schema.engine_setup import EntryPoint

pytest.importorskip("vllm")

from vlm_parity.backends.base import Inputs, Request, Settings
from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.trace import Depth, Stage

REQUESTS = {
    "text": make_request(TEXT_PART),
    "images": make_request(IMAGE_PART, {"text": "and"}, OTHER_IMAGE_PART, TEXT_PART),
    "video and image": make_request(VIDEO_PART, IMAGE_PART, TEXT_PART),
}


@pytest.fixture(scope="module")
def frontend() -> Iterator[VllmBackend]:
    backend = VllmBackend(Settings(depth=Depth.TOKENS))
    backend.load(build_checkpoint("qwen3_vl"))
    yield backend
    backend.close()


def pixels(inputs: Inputs) -> list[np.ndarray]:
    return [medium.arrays["pixel_values"] for medium in inputs.media or ()]


@pytest.mark.parametrize("entry_point", (EntryPoint.TEXT, EntryPoint.TOKEN_IDS))
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_case_is_the_same_by_every_way_in(
    frontend: VllmBackend, request_: Request, entry_point: str
) -> None:
    chat = frontend.inputs(request_)
    other = frontend.inputs(replace(request_, entry_point=entry_point))
    assert other.input_ids == chat.input_ids
    assert other.spans == chat.spans
    assert len(other.spans or ()) == len(request_.media)
    assert chat.positions is not None
    np.testing.assert_array_equal(other.positions, chat.positions)
    for theirs, ours in zip(pixels(other), pixels(chat), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    fields = [[medium.fields for medium in side.media or ()] for side in (other, chat)]
    assert fields[0] == fields[1]


def test_a_prompt_that_went_in_as_ids_has_no_text(frontend: VllmBackend) -> None:
    request_ = REQUESTS["images"]
    text, ids = (
        frontend.inputs(replace(request_, entry_point=entry_point))
        for entry_point in (EntryPoint.TEXT, EntryPoint.TOKEN_IDS)
    )
    assert text.prompt == frontend.inputs(request_).prompt
    assert ids.prompt is None
    assert ids.not_captured[Stage.PROMPT] == "the prompt was handed over as ids"
