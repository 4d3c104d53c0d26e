"""DeepSeek-VL 1.3B: one square picture, always as many positions.

vLLM has no class of its own for it and runs transformers' (``model_impl``, by itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from vlm_parity.models.families.base import MediumInfo, TowerInput, spans_from_counts
from vlm_parity.models.synthetic.byte_level_bpe import build_byte_level_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES, SyntheticFamily
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_SIDE = 112  # pixels; the released model has 384
_PATCH = 16
_POSITIONS = (_SIDE // _PATCH) ** 2
_VOCABULARY = 102400
_WORDS = 32768
"""Ids with a text: the rest would make building slow and find nothing more."""
_BEGIN, _END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"

# Renders as the template that transformers' conversion script gives deepseek-community/deepseek-vl-1.3b-chat.
_CHAT_TEMPLATE = """\
{{- 'You are a helpful language and vision assistant. ' -}}
{{- 'You are able to understand the visual content that the user provides, ' -}}
{{- 'and assist the user with a variety of tasks using natural language.\\n\\n' -}}
{%- for message in messages -%}
  {{- message['role'].capitalize() + ': ' -}}
  {%- for content in message['content'] -%}
    {%- if content['type'] == 'image' -%}
      {{- '<image_placeholder>' -}}
    {%- elif content['type'] == 'text' -%}
      {%- set text = content['text'].lstrip() if loop.first else content['text'] -%}
      {%- set text = text.rstrip() if loop.last else text -%}
      {%- if not loop.first and message['content'][loop.index0 - 1]['type'] == 'text' -%}
        {{- ' ' -}}
      {%- endif -%}
      {{- text -}}
    {%- endif -%}
  {%- endfor -%}
  {%- if not loop.last or add_generation_prompt -%}
    {{- '\\n\\n' if message['role'] == 'user' else '<｜end▁of▁sentence｜>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'Assistant:' -}}
{%- endif -%}
"""


class DeepseekVL(SyntheticFamily):
    """A tiny ``DeepseekVLForConditionalGeneration``."""

    name = "deepseek_vl"
    model_types = ("deepseek_vl",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    # transformers' DeepseekVLConfig (image_token_id), and tokenizer_config.json of
    # deepseek-ai/deepseek-vl-1.3b-chat.
    special_ids: ClassVar[Mapping[str, int]] = {_BEGIN: 100000, _END: 100001, "<image_placeholder>": 100015}
    generation: ClassVar[Mapping[str, Any]] = {"bos_token_id": 100000, "eos_token_id": 100001}

    def model(self) -> Any:
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

    def processor(self) -> Any:
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
        # Released: the mean and deviation of SigLIP, and the grey that is their zero around the picture.
        images = DeepseekVLImageProcessor(
            size={"height": _SIDE, "width": _SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )
        return DeepseekVLProcessor(
            images, tokenizer, chat_template=_CHAT_TEMPLATE, num_image_tokens=_POSITIONS
        )

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"]}

    def spans(
        self,
        config: Mapping[str, Any],
        input_ids: Sequence[int],
        inputs: Mapping[str, Any],
        media: Sequence[MediumInfo],
    ) -> tuple[Span, ...]:
        vision = config["vision_config"]
        each = (vision["image_size"] // vision["patch_size"]) ** 2
        modalities = [medium.modality for medium in media]
        counts: dict[Modality, list[int]] = {"image": [each] * len(media)}
        return spans_from_counts(input_ids, self.placeholder_ids(config), counts, modalities)

    def tower_inputs(
        self,
        config: Mapping[str, Any],
        inputs: Mapping[str, Any],
        spans: Sequence[Span],
    ) -> dict[Modality, list[TowerInput]]:
        """Each picture, [channels, height, width]."""
        if inputs.get("pixel_values") is None:
            return {}
        pixels = np.asarray(inputs["pixel_values"], np.float32)
        pictures = pixels.reshape(-1, *pixels.shape[-3:])
        return {"image": [TowerInput({}, {"pixel_values": picture}) for picture in pictures]}
