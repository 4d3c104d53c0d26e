"""Pixtral 12B in the layout of transformers: LLaVA's model with Pixtral's tower, without merged patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.pixtral_base import TEXT, VISION, PixtralTower


class Pixtral(PixtralTower):
    """A tiny ``LlavaForConditionalGeneration`` around a Pixtral tower."""

    name = "pixtral"
    model_types = ("llava",)
    # Renders as the template of mistral-community/pixtral-12b, which writes a system message before the last
    # question. The released template accepts system and assistant messages only as strings.
    chat_template = read_template("pixtral")
    image_size = 256  # released: 1024
    patch_size = 16
    merge_size = 1

    def matches_config(self, config: Mapping[str, Any]) -> bool:
        return super().matches_config(config) and config["vision_config"].get("model_type") == "pixtral"

    def build_model(self) -> Any:
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        return LlavaForConditionalGeneration(
            LlavaConfig(
                text_config=TEXT,
                vision_config={**VISION, "image_size": self.image_size, "patch_size": self.patch_size},
                image_token_index=self.special_ids["[IMG]"],
                vision_feature_layer=-1,
                vision_feature_select_strategy="full",
                image_seq_length=1,
                tie_word_embeddings=False,
            )
        )
