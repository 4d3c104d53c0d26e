"""Explanations of a case: what each side is passed, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from vlm_parity.check.explain_case import describe_value, explain_case
from vlm_parity.media.load import DecodedVideo, EncodedMedium
from vlm_parity.schema.case import Case

IMAGE = {"image": {"pattern": "plain", "size": [8, 6]}}
TOOL = {"type": "function", "function": {"name": "look"}}


def explain(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    case = Case.model_validate({"name": "a", "summary": "s", "messages": messages, **fields})
    return dict(explain_case(case, None))


def test_each_side_is_shown_in_its_own_form() -> None:
    sides = explain({"role": "user", "content": [IMAGE, {"text": "Hi"}]}, tools=[TOOL])
    assert sides["media"] == {"0": "<image, RGB, 8 x 6>"}
    forms = {name: sides[name]["messages"][0]["content"][0] for name in sides if name != "media"}
    assert forms["transformers"] == {"type": "image"}
    assert forms["vllm"] == {"type": "image_pil", "image_pil": "<image, RGB, 8 x 6>"}
    assert forms["lmdeploy"] == {"type": "image_data", "image_data": {"data": "<image, RGB, 8 x 6>"}}
    assert forms["vllm, server"]["image_url"]["url"].startswith("<data URL, image/png, ")
    assert sides["vllm"]["tools"] == sides["transformers"]["tools"] == [TOOL]
    assert sides["vllm, server"]["extra_body"]["tool_choice"] == "none"


def test_a_side_that_lacks_a_parameter_says_so() -> None:
    sides = explain({"role": "user", "content": "Hi"}, documents=[{"text": "a"}])
    assert sides["lmdeploy"] == "unsupported: LMDeploy's chat path has no parameter documents"
    assert sides["vllm"]["chat_template_kwargs"] == {"documents": [{"text": "a"}]}


def test_processor_kwargs_reach_every_side() -> None:
    sides = explain({"role": "user", "content": "Hi"}, processor_kwargs={"num_frames": 6, "fps": None})
    expected = {"num_frames": 6, "fps": None}
    assert sides["transformers"]["processor"] == expected
    assert sides["vllm"]["mm_processor_kwargs"] == expected
    assert sides["vllm, server"]["extra_body"]["mm_processor_kwargs"] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PIL.Image.new("L", (3, 2)), "<image, L, 3 x 2>"),
        (np.zeros((2, 4), np.uint8), "<array, uint8, 2 x 4>"),
        (EncodedMedium("image", b"abc", "image/png"), "<file, image/png, 3 bytes>"),
        ("data:image/png;base64,AAAA", "<data URL, image/png, 4 characters>"),
        ("data: a text", "data: a text"),
        ("a" * 600, "a" * 500 + "... (600 characters)"),
        ((1, None, True, 0.5), [1, None, True, 0.5]),
    ],
)
def test_values_become_plain_data(value: Any, expected: Any) -> None:
    assert describe_value(value) == expected
    assert yaml.safe_load(yaml.safe_dump(expected)) == expected


def test_a_video_is_described_by_its_frames() -> None:
    video = DecodedVideo(np.zeros((2, 4, 6, 3), np.uint8), 2.0)
    assert describe_value(video) == "<frames <array, uint8, 2 x 4 x 6 x 3>, fps 2.0>"
