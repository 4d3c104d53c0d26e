"""Qwen3-Omni: Qwen3-VL's vision tower, an audio encoder and experts; 13 time steps a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.qwen_omni_base import AUDIO, TEXT, QwenOmniFamily
from vlm_parity.models.synthetic.qwen_tokenizer_files import (
    AUDIO_TOKENS,
    CONTROL_TOKENS,
    THINKING_TOKENS,
    TOOL_TOKENS,
)

_IDS = {
    "audio_end_token_id": 151670,
    "audio_start_token_id": 151669,
    "audio_token_id": 151675,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}
"""Ids of the thinker in the released config.json."""
_PATCHES: dict[str, Any] = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "merge_size": 2,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 3136, "longest_edge": 12845056},
}


class Qwen3OmniMoe(QwenOmniFamily):
    """A tiny thinker of Qwen3-Omni with four experts, two of them active."""

    name = "qwen3_omni_moe"
    model_types = ("qwen3_omni_moe",)
    # config.json of Qwen/Qwen3-Omni-30B-A3B-Instruct; transformers' Qwen3OmniMoeConfig has the talker's,
    # which lie between those of audio.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|im_start|>": 151644,
        "<|im_end|>": 151645,
        "<|vision_start|>": 151652,
        "<|vision_end|>": 151653,
        "<|image_pad|>": 151655,
        "<|video_pad|>": 151656,
        "<|audio_start|>": 151669,
        "<|audio_end|>": 151670,
        "<|audio_pad|>": 151675,
    }
    tokens = (*CONTROL_TOKENS, *TOOL_TOKENS, *THINKING_TOKENS, *AUDIO_TOKENS)
    named_tokens: ClassVar[Mapping[str, str]] = {
        "audio_token": "<|audio_pad|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }

    # Renders as the released template without tools.
    chat_template = read_template("qwen3_omni_moe")

    @property
    def thinker_class(self) -> Any:
        from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

        return Qwen3OmniMoeThinkerForConditionalGeneration

    def load_model(self, path: Path, **arguments: Any) -> Any:
        """Load the model and run its experts one by one: grouped matrix products do not support float64."""
        model = super().load_model(path, **arguments)
        model.set_experts_implementation("eager")
        return model

    def build_model(self) -> Any:
        from transformers import Qwen3OmniMoeConfig, Qwen3OmniMoeForConditionalGeneration

        rope = {
            "rope_type": "default",
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
            "rope_theta": 1e6,
        }
        text = {
            **TEXT,
            "head_dim": 32,
            "mlp_only_layers": [],
            "moe_intermediate_size": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 3,  # more than deepstack levels, as in released models
            "rope_parameters": rope,
        }
        vision = {
            "apply_vit_abs_pos_embed": True,
            "deepstack_visual_indexes": [0, 1],
            "depth": 3,
            "hidden_size": 32,
            "image_size": 768,
            "intermediate_size": 64,
            "num_heads": 2,
            "num_position_embeddings": 2304,
            "out_hidden_size": TEXT["hidden_size"],
            "patch_size": 16,
        }
        thinker = {
            "audio_config": {**AUDIO, "downsample_hidden_size": 32},
            "position_id_per_seconds": 13,
            "seconds_per_chunk": 2,
            "text_config": text,
            "vision_config": vision,
            **_IDS,
        }
        config = Qwen3OmniMoeConfig(thinker_config=thinker, enable_audio_output=False)
        return Qwen3OmniMoeForConditionalGeneration(config)

    def build_processor(self) -> Any:
        from transformers import (
            Qwen2VLImageProcessor,
            Qwen2VLVideoProcessor,
            Qwen3OmniMoeProcessor,
            WhisperFeatureExtractor,
        )

        return Qwen3OmniMoeProcessor(
            image_processor=Qwen2VLImageProcessor(**_PATCHES),
            video_processor=Qwen2VLVideoProcessor(**_PATCHES),
            feature_extractor=WhisperFeatureExtractor(
                feature_size=128, chunk_length=30, return_attention_mask=True
            ),
            tokenizer=self.build_tokenizer(),
            chat_template=self.chat_template,
        )

    def count_audio_positions(self, frames: int) -> int:
        """Count 13 positions for each chunk of 100 frames, fewer for a shorter last one."""
        whole, rest = divmod(frames, 100)
        halved = (rest - 1) // 2 + 1
        return ((halved - 1) // 2 + 1 - 1) // 2 + 1 + whole * 13
