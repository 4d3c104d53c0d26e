"""Qwen3.5 with experts: each position is routed to two of four, and to one that all share."""

from __future__ import annotations

from typing import Any

from harness.models.qwen3_5 import IDS, TEXT, VISION, Qwen35


class Qwen35Moe(Qwen35):
    """A tiny Qwen3.5-MoE with all that the released 35B-A3B shares with the dense models."""

    name = "qwen3_5_moe"
    model_types = ("qwen3_5_moe",)

    def model(self) -> Any:
        from transformers import Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration

        experts = {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
        }
        config = Qwen3_5MoeConfig(
            text_config={**TEXT, **experts},
            vision_config=VISION,
            tie_word_embeddings=False,
            **IDS,
        )
        return Qwen3_5MoeForConditionalGeneration(config)
