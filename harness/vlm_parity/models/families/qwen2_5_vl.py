"""Qwen2.5-VL: window attention in the vision tower, video positions in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vlm_parity.models.families.base import MediumInfo, TowerInput
from vlm_parity.models.families.grid_base import add_seconds_per_grid
from vlm_parity.models.families.qwen_vl_base import PREPROCESSOR, QWEN_TEXT, SPECIAL_IDS, QwenVLFamily
from vlm_parity.models.families.synthetic_base import TEXT_SIZES
from vlm_parity.models.synthetic.qwen_tokenizer_files import TOOL_TOKENS
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span


class Qwen25VL(QwenVLFamily):
    """A tiny Qwen2.5-VL with tied embeddings, like the released 3B."""

    name = "qwen2_5_vl"
    model_types = ("qwen2_5_vl",)
    supported_kwargs = ("min_pixels", "max_pixels")
    extra_tokens = TOOL_TOKENS
    max_length = 131072
    generation: ClassVar = {"temperature": 1e-6}

    def build_model(self) -> Any:
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        rope = {"rope_type": "default", "type": "mrope", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
        # The first and the last layer attend within windows of 112 pixels, the second to everything.
        vision = {
            "depth": 3,
            "fullatt_block_indexes": [1],
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": TEXT_SIZES["hidden_size"],
            "tokens_per_second": 2,
            "window_size": 112,
        }
        config = Qwen2_5_VLConfig(
            text_config={**TEXT_SIZES, **QWEN_TEXT, "rope_parameters": rope},
            vision_config=vision,
            tie_word_embeddings=True,
            **SPECIAL_IDS,
        )
        return Qwen2_5_VLForConditionalGeneration(config)

    def get_preprocessor_configs(self) -> dict[str, dict[str, Any]]:
        return {"preprocessor_config.json": {**PREPROCESSOR, "processor_class": "Qwen2_5_VLProcessor"}}

    def get_processor_options(self, media: Sequence[MediumInfo]) -> dict[str, Any]:
        """Return ``fps``, one number per video, for processors before transformers 5.

        They derive the time between frames from it, never from the metadata of a video.
        Source: Qwen2_5_VLProcessor.
        """
        from transformers.models.qwen2_5_vl import processing_qwen2_5_vl

        rates = [medium.fps for medium in media if medium.modality == "video"]
        reads_fps = hasattr(processing_qwen2_5_vl, "Qwen2_5_VLVideosProcessorKwargs")
        return {"fps": rates} if reads_fps and rates and all(rates) else {}

    def split_tower_inputs(
        self, config: Mapping[str, Any], inputs: Mapping[str, Any], spans: Sequence[Span]
    ) -> dict[Modality, list[TowerInput]]:
        media = super().split_tower_inputs(config, inputs, spans)
        if "video" in media:
            media["video"] = add_seconds_per_grid(media["video"], inputs.get("second_per_grid_ts"))
        return media
