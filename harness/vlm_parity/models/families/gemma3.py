"""Gemma 3: bidirectional attention within an image, sliding windows in most layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.fixed_size_base import FixedSizeFamily
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer

_SIDE = 112  # pixels of an image; the released models have 896
_SEQUENCE = 16  # positions of an image; the released models have 256
_WINDOW = 32  # positions; the released models have 1024

# tokenizer.json and config.json of google/gemma-3-4b-it.
_TOKENS = {
    "<start_of_turn>": 105,
    "<end_of_turn>": 106,
    "<start_of_image>": 255999,
    "<end_of_image>": 256000,
    "<image_soft_token>": 262144,
}
_LINE_FEED, _BYTE = 107, 238


class Gemma3(FixedSizeFamily):
    """A tiny Gemma 3 with five layers of sliding windows and one of full attention."""

    name = "gemma3"
    folder = "gemma-3-4b-it"
    model_types = ("gemma3",)
    special_ids: ClassVar[Mapping[str, int]] = {**GEMMA_IDS, **_TOKENS}
    generation: ClassVar = {
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "pad_token_id": 0,
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    }

    def build_model(self) -> Any:
        from transformers import Gemma3Config, Gemma3ForConditionalGeneration

        text = {
            **NARROW_TEXT_SIZES,
            "query_pre_attn_scalar": 32,
            "vocab_size": 262208,
            # The released pattern, which LMDeploy assumes: full attention in every sixth layer.
            "num_hidden_layers": 6,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"],
            "sliding_window": _WINDOW,
            # As of google/gemma-3-4b-it.
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
        }
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": 14,
            "vision_use_head": False,
        }
        return Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config=text,
                vision_config=vision,
                mm_tokens_per_image=_SEQUENCE,
                boi_token_index=_TOKENS["<start_of_image>"],
                eoi_token_index=_TOKENS["<end_of_image>"],
                image_token_index=_TOKENS["<image_soft_token>"],
                eos_token_id=[1, 106],
                tie_word_embeddings=True,
            )
        )

    def build_processor(self) -> Any:
        from transformers import Gemma3ImageProcessor, Gemma3Processor

        tokenizer = build_gemma_tokenizer(
            _TOKENS,
            262144,
            _LINE_FEED,
            _BYTE,
            extra_special_tokens={
                "boi_token": "<start_of_image>",
                "eoi_token": "<end_of_image>",
                "image_token": "<image_soft_token>",
            },
        )
        return Gemma3Processor(
            image_processor=Gemma3ImageProcessor(size={"height": _SIDE, "width": _SIDE}),
            tokenizer=tokenizer,
            image_seq_length=_SEQUENCE,
            # Renders as the template of google/gemma-3-4b-it: the system text precedes the first user text,
            # and texts are trimmed.
            chat_template=read_template("gemma3"),
        )

    def count_image_positions(self, config: Mapping[str, Any]) -> int:
        count: int = config["mm_tokens_per_image"]
        return count
