"""Faults that show in the rendered prompt."""

from __future__ import annotations

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.message_edits import add_system_prompt, drop_later_texts, move_media_first

_QWEN2 = ("qwen2_vl", "qwen2_5_vl")
_ALL = (*_QWEN2, "qwen3_vl")


def _drop_turn_line_feed(template: str) -> str:
    """Of a Jinja template that writes the line feed as an escape."""
    return template.replace("<|im_end|>\\n", "<|im_end|>")


FAULTS = (
    Fault(
        name="template without a line feed behind a turn",
        stage=Stage.PROMPT,
        cause="chat template whitespace differs",
        injectors={
            "vllm": vllm_inputs.change_template(_drop_turn_line_feed),
            "lmdeploy": lmdeploy_inputs.change_template(_drop_turn_line_feed),
        },
        models=_ALL,
        cases=("one_image", "text_only", "several_turns"),
    ),
    Fault(
        name="texts behind the first dropped",
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
        name="media put in front of the texts",
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
        name="texts joined by a line feed",
        stage=Stage.PROMPT,
        cause="text part separator differs",
        injectors={"vllm": vllm_inputs.join_texts},
        models=_ALL,
        cases=("two_texts", "one_image"),
    ),
    Fault(
        name="a system prompt that nobody wrote",
        stage=Stage.PROMPT,
        cause="system prompt missing or added",
        injectors={
            "vllm": vllm_inputs.change_messages(add_system_prompt),
            "lmdeploy": lmdeploy_inputs.change_rendered_messages(add_system_prompt),
        },
        models=("qwen3_vl",),  # the others' templates write the same one by themselves
        cases=("one_image", "text_only"),
    ),
)
