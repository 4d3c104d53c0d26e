"""Qwen2.5-Omni: Qwen2.5-VL's vision tower and an audio encoder; 25 time steps a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.qwen_omni_base import AUDIO, TEXT, QwenOmniFamily
from vlm_parity.models.families.qwen_vl_base import PREPROCESSOR
from vlm_parity.models.synthetic.qwen_tokenizer_files import TOOL_TOKENS

# tokenizer_config.json of Qwen/Qwen2.5-Omni-7B, from id 151643.
_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|vision_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    *TOOL_TOKENS,
)


class Qwen25Omni(QwenOmniFamily):
    """A tiny thinker of Qwen2.5-Omni."""

    name = "qwen2_5_omni"
    model_types = ("qwen2_5_omni",)
    supported_kwargs = ("min_pixels", "max_pixels")
    # transformers' Qwen2_5OmniThinkerConfig (audio, image, video) and Qwen2_5OmniTalkerConfig (vision).
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|im_start|>": 151644,
        "<|im_end|>": 151645,
        "<|AUDIO|>": 151646,
        "<|audio_bos|>": 151647,
        "<|audio_eos|>": 151648,
        "<|vision_bos|>": 151652,
        "<|vision_eos|>": 151653,
        "<|IMAGE|>": 151655,
        "<|VIDEO|>": 151656,
    }
    tokens = _TOKENS
    named_tokens: ClassVar[Mapping[str, str]] = {
        "audio_token": "<|AUDIO|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
        "image_token": "<|IMAGE|>",
        "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
    }
    # Renders as the released template without tools.
    chat_template = read_template("qwen2_5_omni")

    @property
    def thinker_class(self) -> Any:
        from transformers import Qwen2_5OmniThinkerForConditionalGeneration

        return Qwen2_5OmniThinkerForConditionalGeneration

    def build_model(self) -> Any:
        from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

        rope = {"rope_type": "default", "type": "mrope", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
        # The first and the last layer attend within windows of 112 pixels, the second to everything.
        vision = {
            "depth": 3,
            "fullatt_block_indexes": [1],
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": TEXT["hidden_size"],
            "window_size": 112,
            "tokens_per_second": 25,
        }
        thinker = {
            "audio_config": AUDIO,
            "pad_token_id": 151643,
            "text_config": {**TEXT, "rope_parameters": rope},
            "vision_config": vision,
            "vision_start_token_id": 151652,
            "vision_end_token_id": 151653,
        }
        config = Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
        return Qwen2_5OmniForConditionalGeneration(config)

    def build_processor(self) -> Any:
        from transformers import (
            Qwen2_5OmniProcessor,
            Qwen2VLImageProcessor,
            Qwen2VLVideoProcessor,
            WhisperFeatureExtractor,
        )

        settings = {name: value for name, value in PREPROCESSOR.items() if name != "image_processor_type"}
        return Qwen2_5OmniProcessor(
            image_processor=Qwen2VLImageProcessor(**settings),
            video_processor=Qwen2VLVideoProcessor(**settings),
            feature_extractor=WhisperFeatureExtractor(
                feature_size=128, chunk_length=300, return_attention_mask=True
            ),
            tokenizer=self.build_tokenizer(),
            chat_template=self.chat_template,
        )

    def count_audio_positions(self, frames: int) -> int:
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1
