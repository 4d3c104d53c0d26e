"""Qwen2-VL: a vision tower for any resolution, multimodal rotary positions."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.models.families.qwen_vl_base import PREPROCESSOR, QWEN_TEXT, SPECIAL_IDS, QwenVLFamily
from vlm_parity.models.families.synthetic_base import TEXT_SIZES


class Qwen2VL(QwenVLFamily):
    """A tiny Qwen2-VL with the tokenizer, processor and template of the released 2B."""

    name = "qwen2_vl"
    model_types = ("qwen2_vl",)
    supported_kwargs = ("min_pixels", "max_pixels")
    generation: ClassVar = {"temperature": 0.01, "top_p": 0.001, "top_k": 1}

    def build_model(self) -> Any:
        from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

        rope = {"rope_type": "default", "type": "mrope", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
        vision = {
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": TEXT_SIZES["hidden_size"],
            "num_heads": 2,
            "mlp_ratio": 2,
        }
        config = Qwen2VLConfig(
            text_config={**TEXT_SIZES, **QWEN_TEXT, "rope_parameters": rope},
            vision_config=vision,
            tie_word_embeddings=False,
            **SPECIAL_IDS,
        )
        return Qwen2VLForConditionalGeneration(config)

    def get_preprocessor_configs(self) -> dict[str, dict[str, Any]]:
        return {"preprocessor_config.json": {**PREPROCESSOR, "processor_class": "Qwen2VLProcessor"}}
