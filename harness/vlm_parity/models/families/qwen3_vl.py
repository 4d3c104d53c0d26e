"""Qwen3-VL: interleaved rotary positions, deepstack features, timestamps between video frames."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.qwen_vl_base import QWEN_TEXT, SPECIAL_IDS, QwenVLFamily
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES
from vlm_parity.models.synthetic.qwen_tokenizer_files import THINKING_TOKENS, TOOL_TOKENS

# Released; sizes are pixels of one image, or of all frames of one video.
_PATCHES = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
}
_IMAGE = {
    **_PATCHES,
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
_VIDEO = {
    **_PATCHES,
    "size": {"longest_edge": 25165824, "shortest_edge": 4096},
    "video_processor_type": "Qwen3VLVideoProcessor",
}


TEXT = {
    **NARROW_TEXT_SIZES,
    **QWEN_TEXT,
    "num_hidden_layers": 3,  # LMDeploy requires more than deepstack levels, as in released models
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
        "rope_theta": 5e6,
    },
}
VISION = {
    "deepstack_visual_indexes": [0, 1],
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 2304,
    "out_hidden_size": NARROW_TEXT_SIZES["hidden_size"],
}


class Qwen3VL(QwenVLFamily):
    """A tiny Qwen3-VL with the tokenizer, processor and template of the released Instruct models."""

    name = "qwen3_vl"
    model_types = ("qwen3_vl",)
    supported_kwargs = ("min_pixels", "max_pixels", "num_frames", "fps")
    # Renders as the template of the released Instruct models without tools: no default system turn, and a
    # system turn that is not the first is dropped.
    chat_template = read_template("qwen3_vl")
    extra_tokens: ClassVar[tuple[str, ...]] = TOOL_TOKENS + THINKING_TOKENS
    max_length = 262144
    generation: ClassVar = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}

    def build_model(self) -> Any:
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        config = Qwen3VLConfig(
            text_config=TEXT,
            vision_config=VISION,
            tie_word_embeddings=False,
            **SPECIAL_IDS,
        )
        return Qwen3VLForConditionalGeneration(config)

    def get_preprocessor_configs(self) -> dict[str, dict[str, Any]]:
        return {"preprocessor_config.json": _IMAGE, "video_preprocessor_config.json": _VIDEO}
