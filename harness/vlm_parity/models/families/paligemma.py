"""PaliGemma: a picture before the text, all of the prompt seen in both directions, positions from 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.fixed_size_base import FixedSizeFamily
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES

_SIDE = 112  # pixels of a picture; the released models have 224 and more
_PATCH = 14
_SEQUENCE = (_SIDE // _PATCH) ** 2

# tokenizer.json of google/paligemma-3b-mix-224: 1024 places, 128 pieces of outlines, the picture.
_LOCATIONS = {f"<loc{place:04}>": 256000 + place for place in range(1024)}
_OUTLINES = {f"<seg{piece:03}>": 257024 + piece for piece in range(128)}
_IMAGE = {"<image>": 257152}
_LINE_FEED, _BYTE = 108, 217

# The released models have none: they answer a bare text. Renders as vLLM's fallback for them does
# (template_basic.jinja): the contents, one behind the other.
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
  {%- if message['content'] is string -%}
    {{- message['content'] -}}
  {%- else -%}
    {%- for content in message['content'] | selectattr('type', 'equalto', 'text') -%}
      {{- content['text'] -}}
    {%- endfor -%}
  {%- endif -%}
{%- endfor -%}
"""


class PaliGemma(FixedSizeFamily):
    """A tiny PaliGemma with the first Gemma. One picture a prompt, never none."""

    name = "paligemma"
    folder = "paligemma-3b-mix-224"
    model_types = ("paligemma",)
    special_ids: ClassVar[Mapping[str, int]] = {**GEMMA_IDS, **_LOCATIONS, **_OUTLINES, **_IMAGE}
    generation: ClassVar = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}

    def model(self) -> Any:
        from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "model_type": "gemma",
            "head_dim": 32,
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
            "projection_dim": TEXT_SIZES["hidden_size"],
            "vision_use_head": False,
        }
        return PaliGemmaForConditionalGeneration(
            PaliGemmaConfig(
                text_config=text,
                vision_config=vision,
                image_token_index=_IMAGE["<image>"],
                projection_dim=TEXT_SIZES["hidden_size"],
                hidden_size=TEXT_SIZES["hidden_size"],
                bos_token_id=2,
                eos_token_id=1,
                pad_token_id=0,
                tie_word_embeddings=True,
            )
        )

    def processor(self) -> Any:
        from transformers import PaliGemmaProcessor, SiglipImageProcessor

        images = SiglipImageProcessor(size={"height": _SIDE, "width": _SIDE})
        images.image_seq_length = _SEQUENCE
        tokenizer = build_gemma_tokenizer(
            {**_LOCATIONS, **_OUTLINES, **_IMAGE},
            256000,
            _LINE_FEED,
            _BYTE,
            extra_special_tokens={"image_token": "<image>"},
        )
        return PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer, chat_template=_CHAT_TEMPLATE)

    def features(self, config: Mapping[str, Any]) -> int:
        vision = config["vision_config"]
        count: int = (vision["image_size"] // vision["patch_size"]) ** 2
        return count

    def positions(self, model: Any, inputs: Mapping[str, Any]) -> np.ndarray:
        """From 1 on.

        Source: ``PaliGemmaModel.forward``.
        """
        return super().positions(model, inputs) + 1
