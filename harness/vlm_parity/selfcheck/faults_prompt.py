"""Faults that show at the stage ``prompt``."""

from __future__ import annotations

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.message_edits import add_system_prompt, drop_later_texts, move_media_first

_QWEN2 = ("qwen2_vl", "qwen2_5_vl")
_ALL = (*_QWEN2, "qwen3_vl")


def _drop_turn_newline(template: str) -> str:
    """Drop the newline after a turn from a Jinja template, which writes it as an escape sequence."""
    return template.replace("<|im_end|>\\n", "<|im_end|>")


FAULTS = (
    Fault(
        name="chat template without newline after a turn",
        stage=Stage.PROMPT,
        cause="chat template whitespace differs",
        injectors={
            "vllm": vllm_inputs.change_template(_drop_turn_newline),
            "lmdeploy": lmdeploy_inputs.change_template(_drop_turn_newline),
        },
        models=_ALL,
        cases=("one_image", "text_only", "several_turns"),
    ),
    Fault(
        name="text parts after the first dropped",
        stage=Stage.PROMPT,
        cause="text part dropped",
        injectors={
            "vllm": vllm_inputs.change_messages(drop_later_texts),
            "lmdeploy": lmdeploy_inputs.change_messages(drop_later_texts),
        },
        models=_ALL,
        cases=("text_around_image", "two_images", "unicode_text"),
    ),
    Fault(
        name="media moved before text",
        stage=Stage.PROMPT,
        cause="media placed elsewhere in the prompt",
        injectors={
            "vllm": vllm_inputs.change_messages(move_media_first),
            "lmdeploy": lmdeploy_inputs.change_messages(move_media_first),
        },
        models=_ALL,
        cases=("text_around_image", "two_images", "several_turns"),
    ),
    Fault(
        name="text parts joined by newlines",
        stage=Stage.PROMPT,
        cause="text part separator differs",
        injectors={"vllm": vllm_inputs.join_texts},
        models=_ALL,
        cases=("two_texts", "one_image"),
    ),
    Fault(
        name="system prompt added",
        stage=Stage.PROMPT,
        cause="system prompt missing or added",
        injectors={
            "vllm": vllm_inputs.change_messages(add_system_prompt),
            "lmdeploy": lmdeploy_inputs.change_rendered_messages(add_system_prompt),
        },
        models=("qwen3_vl",),  # the templates of the other families add the same one
        cases=("one_image", "text_only"),
    ),
)
