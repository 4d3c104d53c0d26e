"""PaliGemma: an image before the text, bidirectional attention in the prompt, positions from 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import read_template
from vlm_parity.models.families.fixed_size_base import FixedSizeFamily
from vlm_parity.models.families.synthetic_base import NARROW_TEXT_SIZES
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer

_SIDE = 112  # pixels of an image; the released models have 224 and more
_PATCH = 14
_SEQUENCE = (_SIDE // _PATCH) ** 2

# tokenizer.json of google/paligemma-3b-mix-224: 1024 locations, 128 segmentation codes, the image.
_LOCATIONS = {f"<loc{index:04}>": 256000 + index for index in range(1024)}
_SEGMENTS = {f"<seg{index:03}>": 257024 + index for index in range(128)}
_IMAGE = {"<image>": 257152}
_LINE_FEED, _BYTE = 108, 217


class PaliGemma(FixedSizeFamily):
    """A tiny PaliGemma with the first Gemma; exactly one image per prompt."""

    name = "paligemma"
    folder = "paligemma-3b-mix-224"
    model_types = ("paligemma",)
    special_ids: ClassVar[Mapping[str, int]] = {**GEMMA_IDS, **_LOCATIONS, **_SEGMENTS, **_IMAGE}
    generation: ClassVar = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}

    def build_model(self) -> Any:
        from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

        text = {
            **NARROW_TEXT_SIZES,
            "model_type": "gemma",
            "vocab_size": 257216,
            "hidden_activation": "gelu_pytorch_tanh",
            "num_image_tokens": _SEQUENCE,
        }
        vision = {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": _PATCH,
            "projection_dim": NARROW_TEXT_SIZES["hidden_size"],
            "vision_use_head": False,
        }
        return PaliGemmaForConditionalGeneration(
            PaliGemmaConfig(
                text_config=text,
                vision_config=vision,
                image_token_index=_IMAGE["<image>"],
                projection_dim=NARROW_TEXT_SIZES["hidden_size"],
                hidden_size=NARROW_TEXT_SIZES["hidden_size"],
                bos_token_id=2,
                eos_token_id=1,
                pad_token_id=0,
                tie_word_embeddings=True,
            )
        )

    def build_processor(self) -> Any:
        from transformers import PaliGemmaProcessor, SiglipImageProcessor

        images = SiglipImageProcessor(size={"height": _SIDE, "width": _SIDE})
        images.image_seq_length = _SEQUENCE
        tokenizer = build_gemma_tokenizer(
            {**_LOCATIONS, **_SEGMENTS, **_IMAGE},
            256000,
            _LINE_FEED,
            _BYTE,
            extra_special_tokens={"image_token": "<image>"},
        )
        # Released models have no template: they complete a bare text. Renders as vLLM's fallback for them
        # (template_basic.jinja): the contents, concatenated.
        return PaliGemmaProcessor(
            image_processor=images, tokenizer=tokenizer, chat_template=read_template("paligemma")
        )

    def count_image_positions(self, config: Mapping[str, Any]) -> int:
        vision = config["vision_config"]
        count: int = (vision["image_size"] // vision["patch_size"]) ** 2
        return count

    def compute_positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        """Count positions from 1.

        Source: ``PaliGemmaModel.forward``.
        """
        return super().compute_positions(model, inputs) + 1
