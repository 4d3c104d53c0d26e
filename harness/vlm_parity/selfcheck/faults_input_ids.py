"""Faults that show at the stages ``input_ids`` and ``spans``."""

from __future__ import annotations

from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck import lmdeploy_frontend as lmdeploy_inputs
from vlm_parity.selfcheck import vllm_frontend as vllm_inputs
from vlm_parity.selfcheck.fault import Fault

_QWEN2 = ("qwen2_vl", "qwen2_5_vl")
_ALL = (*_QWEN2, "qwen3_vl")
_IMAGE_CASES = ("one_image", "two_images", "several_turns")
_MAX_PIXELS = 35 * 28 * 28  # 35 positions of 28 x 28 pixels


def _double_first(ids: list[int], _: Any) -> list[int]:
    return ids[:1] + ids


def _drop_first(ids: list[int], _: Any) -> list[int]:
    return ids[1:]


def _replace_media_marker(ids: list[int], tokenizer: Any) -> list[int]:
    marker, replacement = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|box_start|>"])
    return [replacement if token == marker else token for token in ids]


def _split_into_letters(ids: list[int], tokenizer: Any) -> list[int]:
    """Tokenize letter by letter, as without merges; special tokens stay whole."""
    special = set(tokenizer.all_special_ids)
    pieces = [[token] if token in special else _encode_token(tokenizer, token) for token in ids]
    return [token for piece in pieces for token in piece]


def _encode_token(tokenizer: Any, token: int) -> list[int]:
    text = tokenizer.decode([token])
    if not text.isalpha() or not text.isascii():
        return [token]
    return [id_ for letter in text for id_ in tokenizer.encode(letter, add_special_tokens=False)]


def _retokenize_typed_end(ids: list[int], tokenizer: Any) -> list[int]:
    """Tokenize ``<|endoftext|>``, which none of the templates writes, as plain text."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    parts = (tokenizer.encode(part, add_special_tokens=False) for part in ("<|", "endoftext", "|>"))
    plain = [token for part in parts for token in part]
    return [token for id_ in ids for token in (plain if id_ == end else [id_])]


FAULTS = (
    Fault(
        name="pad token in place of the image token",
        stage=Stage.INPUT_IDS,
        cause="pad token used as image token",
        injectors={
            "vllm": vllm_inputs.replace_image_with_pad,
            "lmdeploy": lmdeploy_inputs.replace_image_with_pad,
        },
        models=_QWEN2,
        cases=_IMAGE_CASES,
    ),
    Fault(
        name="one row of placeholders missing",
        stage=Stage.INPUT_IDS,
        cause="placeholder count differs by grid rows",
        injectors={"vllm": vllm_inputs.drop_feature_row, "lmdeploy": lmdeploy_inputs.drop_feature_row},
        models=_QWEN2,
        cases=_IMAGE_CASES,
    ),
    Fault(
        name="image downscaled",
        stage=Stage.INPUT_IDS,
        cause="image resized differently",
        injectors={
            "vllm": vllm_inputs.limit_image_pixels(_MAX_PIXELS),
            "lmdeploy": lmdeploy_inputs.limit_image_pixels(_MAX_PIXELS),
        },
        models=_QWEN2,
        cases=("one_image",),
    ),
    Fault(
        name="every second frame dropped",
        stage=Stage.INPUT_IDS,
        cause="frames sampled differently",
        injectors={"vllm": vllm_inputs.keep_every_second_frame},
        models=_QWEN2,
        cases=("video_and_image",),  # longer videos differ in their positions without a fault
    ),
    Fault(
        name="media in reverse order",
        stage=Stage.INPUT_IDS,
        cause="media reordered",
        injectors={"vllm": vllm_inputs.reverse_media, "lmdeploy": lmdeploy_inputs.reverse_media},
        models=_ALL,
        cases=("two_sizes",),
    ),
    Fault(
        name="first token doubled",
        stage=Stage.INPUT_IDS,
        cause="BOS token doubled",
        injectors={
            "vllm": vllm_inputs.change_ids(_double_first),
            "lmdeploy": lmdeploy_inputs.change_ids(_double_first, first=True),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="first token dropped",
        stage=Stage.INPUT_IDS,
        cause="BOS token missing",
        injectors={
            "vllm": vllm_inputs.change_ids(_drop_first),
            "lmdeploy": lmdeploy_inputs.change_ids(_drop_first, first=True),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="special token before media replaced",
        stage=Stage.INPUT_IDS,
        cause="special tokens around media differ",
        injectors={
            "vllm": vllm_inputs.change_ids(_replace_media_marker),
            "lmdeploy": lmdeploy_inputs.change_ids(_replace_media_marker),
        },
        models=_QWEN2,
        cases=_IMAGE_CASES,
    ),
    Fault(
        name="words tokenized letter by letter",
        stage=Stage.INPUT_IDS,
        cause="text tokenized differently",
        injectors={
            "vllm": vllm_inputs.change_ids(_split_into_letters),
            "lmdeploy": lmdeploy_inputs.change_ids(_split_into_letters),
        },
        models=_QWEN2,
        cases=("one_image", "text_only"),
    ),
    Fault(
        name="typed special token tokenized as text",
        stage=Stage.INPUT_IDS,
        cause="special tokens in user text tokenized differently",
        injectors={
            "vllm": vllm_inputs.change_ids(_retokenize_typed_end),
            "lmdeploy": lmdeploy_inputs.change_ids(_retokenize_typed_end),
        },
        models=_QWEN2,
        cases=("typed_special_tokens",),
    ),
    Fault(
        name="span one position late",
        stage=Stage.SPANS,
        cause="span shifted",
        injectors={"vllm": vllm_inputs.shift_span},
        models=_ALL,
        cases=_IMAGE_CASES,
    ),
    Fault(
        name="span one position short",
        stage=Stage.SPANS,
        cause="span length differs",
        injectors={"vllm": vllm_inputs.shorten_span, "lmdeploy": lmdeploy_inputs.shorten_span},
        models=_QWEN2,
        cases=_IMAGE_CASES,
    ),
)
