"""Chat templates, rendered as transformers renders them."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vlm_parity.models.families import glm4v, minicpmv4_6, qwen3_5

PICTURE, WORDS = {"type": "image"}, {"type": "text", "text": " What? "}
ASKED = {"role": "user", "content": [PICTURE, WORDS]}
ANSWERED = {"role": "assistant", "content": [{"type": "text", "text": "<think>\nHm.\n</think>\n\nA cat."}]}
SYSTEM = {"role": "system", "content": "Be brief."}


def render(template: str, *messages: dict[str, Any], **options: Any) -> str:
    """Source: ``_compile_jinja_template`` of ``transformers.utils.chat_template_utils``."""

    def refuse(words: str) -> None:
        raise jinja2.exceptions.TemplateError(words)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    compiled = environment.from_string(template)
    return compiled.render(messages=messages, add_generation_prompt=True, **options)


def test_qwen3_5_trims_turns_and_drops_earlier_thoughts() -> None:
    assert render(qwen3_5.Qwen35.chat_template, SYSTEM, ASKED, ANSWERED, ASKED) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|> What?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|> What?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )


def test_qwen3_5_keeps_the_thoughts_of_what_follows_the_last_question() -> None:
    rendered = render(qwen3_5.Qwen35.chat_template, ASKED, ANSWERED, enable_thinking=False)
    assert rendered.endswith(
        "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nA cat.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((ASKED, SYSTEM), "System message must be at the beginning."),
        ((SYSTEM,), "No user query found in messages."),
        (({"role": "system", "content": [PICTURE]}, ASKED), "System message cannot contain images"),
    ],
)
def test_qwen3_5_refuses_as_released(messages: tuple[dict[str, Any], ...], words: str) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match=words):
        render(qwen3_5.Qwen35.chat_template, *messages)


def test_minicpm_joins_parts_by_line_feeds_and_does_not_think_unasked() -> None:
    assert render(minicpmv4_6._CHAT_TEMPLATE, ASKED) == (
        "<|im_start|>user\n<|image_pad|>\n What?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert render(minicpmv4_6._CHAT_TEMPLATE, ASKED, enable_thinking=True).endswith("assistant\n<think>\n")


def test_glm_writes_what_is_no_user_turn_as_it_is() -> None:
    assert render(glm4v._CHAT_TEMPLATE, SYSTEM, ASKED, {"role": "assistant", "content": "A cat."}) == (
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\n<|begin_of_image|><|image|><|end_of_image|> What? "
        "<|assistant|>\nA cat.<|assistant|>\n"
    )
    parts = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert "<|system|>\n[{'type': 'text', 'text': 'Be brief.'}]<|user|>" in render(
        glm4v._CHAT_TEMPLATE, parts, ASKED
    )
