"""DeepSeek-VL 1.3B: square images with a fixed number of positions.

vLLM has no implementation of it and falls back to that of transformers (``model_impl``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vlm_parity.models.families.base import (
    MediumInfo,
    TowerInput,
    assign_spans,
    build_image_inputs,
    read_template,
)
from vlm_parity.models.families.synthetic_base import TEXT_SIZES, SyntheticFamily
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_SIDE = 112  # pixels; the released model has 384
_PATCH = 16
_POSITIONS = (_SIDE // _PATCH) ** 2
_VOCABULARY = 102400
_WORDS = 32768
"""Ids with a text: more would slow the build down and reveal nothing."""
_BEGIN, _END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"


class DeepseekVL(SyntheticFamily):
    """A tiny ``DeepseekVLForConditionalGeneration``."""

    name = "deepseek_vl"
    model_types = ("deepseek_vl",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    # transformers' DeepseekVLConfig (image_token_id), and tokenizer_config.json of
    # deepseek-ai/deepseek-vl-1.3b-chat.
    special_ids: ClassVar[Mapping[str, int]] = {_BEGIN: 100000, _END: 100001, "<image_placeholder>": 100015}
    generation: ClassVar[Mapping[str, Any]] = {"bos_token_id": 100000, "eos_token_id": 100001}

    def build_model(self) -> Any:
        from transformers import DeepseekVLConfig, DeepseekVLForConditionalGeneration

        return DeepseekVLForConditionalGeneration(
            DeepseekVLConfig(
                text_config={
                    **TEXT_SIZES,
                    "model_type": "llama",
                    "vocab_size": _VOCABULARY,
                    "bos_token_id": 100000,
                    "eos_token_id": 100001,
                },
                vision_config={
                    "model_type": "siglip_vision_model",
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "image_size": _SIDE,
                    "patch_size": _PATCH,
                    "hidden_act": "gelu",
                    "vision_use_head": False,
                },
                image_token_id=self.special_ids["<image_placeholder>"],
                tie_word_embeddings=False,
            )
        )

    def build_processor(self) -> Any:
        from transformers import DeepseekVLImageProcessor, DeepseekVLProcessor

        tokenizer = build_byte_level_tokenizer(
            self.special_ids,
            _VOCABULARY,
            _WORDS,
            bos=_BEGIN,
            eos_token=_END,
            pad_token=_END,
            extra_special_tokens={"image_token": "<image_placeholder>"},
        )
        # Released: SigLIP's mean and deviation; images are padded with the gray that they map to zero.
        images = DeepseekVLImageProcessor(
            size={"height": _SIDE, "width": _SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )
        return DeepseekVLProcessor(
            images,
            tokenizer,
            # Renders as the template that transformers' conversion script gives
            # deepseek-community/deepseek-vl-1.3b-chat.
            chat_template=read_template("deepseek_vl"),
            num_image_tokens=_POSITIONS,
        )

    def get_placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"]}

    def locate_spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        vision = config["vision_config"]
        positions = (vision["image_size"] // vision["patch_size"]) ** 2
        counts: dict[Modality, list[int]] = {"image": [positions] * len(media)}
        return assign_spans(input_ids, self.get_placeholder_ids(config), counts, media)

    def split_tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        return build_image_inputs(inputs)
