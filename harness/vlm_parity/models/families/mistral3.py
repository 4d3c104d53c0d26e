"""Mistral Small 3.1: Pixtral's tower, with patches merged in squares."""

from __future__ import annotations

from typing import Any

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.pixtral_base import TEXT, VISION, PixtralTower


class Mistral3(PixtralTower):
    """A tiny ``Mistral3ForConditionalGeneration``."""

    name = "mistral3"
    model_types = ("mistral3",)
    # Renders as the template of mistralai/Mistral-Small-3.1-24B-Instruct-2503 without the default system
    # message, which contains the current date.
    chat_template = read_template("mistral3")
    image_size = 336  # released: 1540
    patch_size = 14
    merge_size = 2

    def build_model(self) -> Any:
        from transformers import Mistral3Config, Mistral3ForConditionalGeneration

        return Mistral3ForConditionalGeneration(
            Mistral3Config(
                text_config=TEXT,
                vision_config={**VISION, "image_size": self.image_size, "patch_size": self.patch_size},
                image_token_index=self.special_ids["[IMG]"],
                spatial_merge_size=self.merge_size,
                vision_feature_layer=-1,
                projector_hidden_act="gelu",
                multimodal_projector_bias=False,
                tie_word_embeddings=False,
            )
        )
