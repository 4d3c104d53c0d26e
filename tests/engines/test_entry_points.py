"""Entry points of the installed engine's frontend: a case has the same inputs through each of them."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from tests.support.frontends import LoadFrontend
from tests.support.requests import IMAGE_PART, OTHER_IMAGE_PART, TEXT_PART, VIDEO_PART, make_request
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UnsupportedError

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
if not ENGINE:
    pytest.skip("neither engine is installed", allow_module_level=True)

REQUESTS = {
    "text": make_request(TEXT_PART),
    "images": make_request(IMAGE_PART, {"text": "and"}, OTHER_IMAGE_PART, TEXT_PART),
    "video and image": make_request(VIDEO_PART, IMAGE_PART, TEXT_PART),
}
PROMPTS = (EntryPoint.TEXT, EntryPoint.TOKEN_IDS)
SUPPORTED = {
    "vllm": [("qwen3_vl", name, entry_point) for name in REQUESTS for entry_point in PROMPTS],
    "lmdeploy": [
        ("qwen3_vl", "text", EntryPoint.TEXT),
        ("qwen3_vl", "text", EntryPoint.TOKEN_IDS),
        ("qwen3_vl", "images", EntryPoint.TEXT),  # its newer image processor accepts a prompt
        ("qwen2_vl", "images", EntryPoint.TOKEN_IDS),  # its older image processor accepts messages
    ],
}[ENGINE]
only_lmdeploy = pytest.mark.skipif(ENGINE != "lmdeploy", reason="limits of LMDeploy")


@pytest.mark.parametrize(("family", "name", "entry_point"), SUPPORTED)
def test_inputs_are_those_of_the_chat_path(
    load_frontend: LoadFrontend, family: str, name: str, entry_point: EntryPoint
) -> None:
    frontend, request = load_frontend(ENGINE, family), REQUESTS[name]
    chat, other = frontend.inputs(request), frontend.inputs(replace(request, entry_point=entry_point))
    assert other.input_ids == chat.input_ids
    assert other.spans == chat.spans
    assert len(other.spans or ()) == len(request.media)
    if entry_point is EntryPoint.TOKEN_IDS:
        assert other.prompt is None
        assert other.not_captured[Stage.PROMPT] == "the prompt was passed as ids"
    else:
        assert other.prompt == chat.prompt
    for tested, expected in zip(other.media or (), chat.media or (), strict=True):
        np.testing.assert_array_equal(tested.arrays["pixel_values"], expected.arrays["pixel_values"])
        assert tested.fields == expected.fields
    if ENGINE == "vllm":
        assert other.positions is not None
        assert chat.positions is not None
        np.testing.assert_array_equal(other.positions, chat.positions)


@only_lmdeploy
def test_the_older_image_processor_does_not_accept_placeholders(
    load_frontend: LoadFrontend,
) -> None:
    with pytest.raises(UnsupportedError, match="insert the placeholders themselves"):
        load_frontend(ENGINE, "qwen2_vl").inputs(replace(REQUESTS["images"], entry_point=EntryPoint.TEXT))


@only_lmdeploy
@pytest.mark.parametrize("entry_point", PROMPTS)
def test_prompts_with_videos_are_not_supported(load_frontend: LoadFrontend, entry_point: EntryPoint) -> None:
    request = make_request(VIDEO_PART, TEXT_PART)
    with pytest.raises(UnsupportedError, match=r"no .*video$|no field for video$"):
        load_frontend(ENGINE, "qwen3_vl").inputs(replace(request, entry_point=entry_point))
