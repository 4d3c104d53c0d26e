"""Faults that show in the ids, and in the spans."""

from __future__ import annotations

from typing import Any

from harness.selfcheck import lmdeploy_inputs, vllm_inputs
from harness.selfcheck.fault import Fault
from harness.trace import Stage

_QWEN2 = ("qwen2_vl", "qwen2_5_vl")
_ALL = (*_QWEN2, "qwen3_vl")
_PICTURES = ("one_image", "two_images", "several_turns")


def _first_twice(ids: list[int], _: Any) -> list[int]:
    return ids[:1] + ids


def _first_left_out(ids: list[int], _: Any) -> list[int]:
    return ids[1:]


def _another_border(ids: list[int], tokenizer: Any) -> list[int]:
    border, other = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|box_start|>"])
    return [other if token == border else token for token in ids]


FAULTS = (
    Fault(
        name="pad token in the image's place",
        stage=Stage.INPUT_IDS,
        cause="pad token used as image token",
        planters={"vllm": vllm_inputs.pad_for_image, "lmdeploy": lmdeploy_inputs.pad_for_image},
        models=_QWEN2,
        cases=_PICTURES,
    ),
    Fault(
        name="one row of placeholders missing",
        stage=Stage.INPUT_IDS,
        cause="placeholder count off by rows of the grid",
        planters={"vllm": vllm_inputs.row_missing, "lmdeploy": lmdeploy_inputs.row_missing},
        models=_QWEN2,
        cases=_PICTURES,
    ),
    Fault(
        name="media from the last to the first",
        stage=Stage.INPUT_IDS,
        cause="media reordered",
        planters={"vllm": vllm_inputs.media_reversed, "lmdeploy": lmdeploy_inputs.media_reversed},
        models=_ALL,
        cases=("two_sizes",),
    ),
    Fault(
        name="first token twice",
        stage=Stage.INPUT_IDS,
        cause="beginning of sequence doubled",
        planters={
            "vllm": vllm_inputs.ids_changed(_first_twice),
            "lmdeploy": lmdeploy_inputs.ids_changed(_first_twice, first=True),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="first token left out",
        stage=Stage.INPUT_IDS,
        cause="beginning of sequence missing",
        planters={
            "vllm": vllm_inputs.ids_changed(_first_left_out),
            "lmdeploy": lmdeploy_inputs.ids_changed(_first_left_out, first=True),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="another special token before a medium",
        stage=Stage.INPUT_IDS,
        cause="other special token around media",
        planters={
            "vllm": vllm_inputs.ids_changed(_another_border),
            "lmdeploy": lmdeploy_inputs.ids_changed(_another_border),
        },
        models=_QWEN2,
        cases=_PICTURES,
    ),
    Fault(
        name="span one position too far",
        stage=Stage.SPANS,
        cause="span shifted",
        planters={"vllm": vllm_inputs.span_shifted},
        models=_ALL,
        cases=_PICTURES,
    ),
    Fault(
        name="span one position too short",
        stage=Stage.SPANS,
        cause="span length differs",
        planters={"vllm": vllm_inputs.span_too_short, "lmdeploy": lmdeploy_inputs.span_too_short},
        models=_QWEN2,
        cases=_PICTURES,
    ),
)
