"""Faults that show in the ids, and in the spans."""

from __future__ import annotations

from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault

_QWEN2 = ("qwen2_vl", "qwen2_5_vl")
_ALL = (*_QWEN2, "qwen3_vl")
_PICTURES = ("one_image", "two_images", "several_turns")
_SMALL = 35 * 28 * 28  # pixels of as many positions


def _first_twice(ids: list[int], _: Any) -> list[int]:
    return ids[:1] + ids


def _first_left_out(ids: list[int], _: Any) -> list[int]:
    return ids[1:]


def _another_border(ids: list[int], tokenizer: Any) -> list[int]:
    border, other = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|box_start|>"])
    return [other if token == border else token for token in ids]


def _letter_by_letter(ids: list[int], tokenizer: Any) -> list[int]:
    """As by a tokenizer that lost its merges; special tokens stay whole."""
    special = set(tokenizer.all_special_ids)
    pieces = [[token] if token in special else _encoded(tokenizer, token) for token in ids]
    return [token for piece in pieces for token in piece]


def _encoded(tokenizer: Any, token: int) -> list[int]:
    text = tokenizer.decode([token])
    if not text.isalpha() or not text.isascii():
        return [token]
    return [id_ for letter in text for id_ in tokenizer.encode(letter, add_special_tokens=False)]


def _typed_end_as_text(ids: list[int], tokenizer: Any) -> list[int]:
    """``<|endoftext|>``, which no template here writes, is read as characters."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    parts = (tokenizer.encode(part, add_special_tokens=False) for part in ("<|", "endoftext", "|>"))
    plain = [token for part in parts for token in part]
    return [token for one in ids for token in (plain if one == end else [one])]


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
        cause="placeholder count differs by grid rows",
        planters={"vllm": vllm_inputs.row_missing, "lmdeploy": lmdeploy_inputs.row_missing},
        models=_QWEN2,
        cases=_PICTURES,
    ),
    Fault(
        name="pictures made smaller",
        stage=Stage.INPUT_IDS,
        cause="image resized differently",
        planters={
            "vllm": vllm_inputs.pictures_limited(_SMALL),
            "lmdeploy": lmdeploy_inputs.pictures_limited(_SMALL),
        },
        models=_QWEN2,
        cases=("one_image",),
    ),
    Fault(
        name="every second frame left out",
        stage=Stage.INPUT_IDS,
        cause="frames sampled differently",
        planters={"vllm": vllm_inputs.every_second_frame},
        models=_QWEN2,
        cases=("video_and_image",),  # long ones differ in their positions anyway
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
        cause="BOS token doubled",
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
        cause="BOS token missing",
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
        cause="special tokens around media differ",
        planters={
            "vllm": vllm_inputs.ids_changed(_another_border),
            "lmdeploy": lmdeploy_inputs.ids_changed(_another_border),
        },
        models=_QWEN2,
        cases=_PICTURES,
    ),
    Fault(
        name="words tokenized letter by letter",
        stage=Stage.INPUT_IDS,
        cause="text tokenized differently",
        planters={
            "vllm": vllm_inputs.ids_changed(_letter_by_letter),
            "lmdeploy": lmdeploy_inputs.ids_changed(_letter_by_letter),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="a typed special token read as text",
        stage=Stage.INPUT_IDS,
        cause="special tokens in user text tokenized differently",
        planters={
            "vllm": vllm_inputs.ids_changed(_typed_end_as_text),
            "lmdeploy": lmdeploy_inputs.ids_changed(_typed_end_as_text),
        },
        models=_QWEN2,
        cases=("typed_special_tokens",),
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
