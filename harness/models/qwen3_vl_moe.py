"""Qwen3-VL with experts: every layer of the language model routes each position to two of four."""

from __future__ import annotations

from typing import Any

from harness.models.qwen import SPECIAL_IDS
from harness.models.qwen3_vl import TEXT, VISION, Qwen3VL


class Qwen3VLMoe(Qwen3VL):
    """A tiny Qwen3-VL-MoE with all that the released 30B-A3B-Instruct shares with the dense models."""

    name = "qwen3_vl_moe"
    model_types = ("qwen3_vl_moe",)

    def model(self) -> Any:
        from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

        experts = {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "decoder_sparse_step": 1,
            "norm_topk_prob": True,  # released; vLLM and LMDeploy read it, transformers always does it
        }
        config = Qwen3VLMoeConfig(
            text_config={**TEXT, **experts, "tie_word_embeddings": False},
            vision_config=VISION,
            tie_word_embeddings=False,
            **SPECIAL_IDS,
        )
        return Qwen3VLMoeForConditionalGeneration(config)
