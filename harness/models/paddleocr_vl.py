"""PaddleOCR-VL: one page at a time before an ERNIE language model; every picture comes before the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.case import Modality
from harness.models.byte_level import byte_level_tokenizer
from harness.models.grids import GridFamily
from harness.models.synthetic import TEXT_SIZES, SyntheticFamily

_VOCABULARY = 103424
# Not in any configuration: the id that the tokenizer of ERNIE 4.5 gives it.
_START = {"<|begin_of_sentence|>": 100273}

# Renders as the template of PaddlePaddle/PaddleOCR-VL-1.6.
_CHAT_TEMPLATE = """\
{{- '<|begin_of_sentence|>' -}}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}
    {{- 'User: ' -}}
    {%- for content in message['content'] -%}
      {%- if content['type'] == 'image' -%}
        {{- '<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>' -}}
      {%- endif -%}
    {%- endfor -%}
    {%- for content in message['content'] -%}
      {%- if content['type'] == 'text' -%}{{- content['text'] -}}{%- endif -%}
    {%- endfor -%}
    {{- '\\n' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- 'Assistant:\\n' -}}
    {%- for content in message['content'] -%}
      {%- if content['type'] == 'text' -%}{{- content['text'] -}}{%- endif -%}
    {%- endfor -%}
    {{- '</s>' -}}
  {%- elif message['role'] == 'system' -%}
    {%- for content in message['content'] -%}
      {%- if content['type'] == 'text' -%}{{- content['text'] + '\\n' -}}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- 'Assistant:\\n' -}}
{%- endif -%}
"""


class PaddleOCRVL(GridFamily, SyntheticFamily):
    """A tiny PaddleOCR-VL with the processor and the template of the released 0.9B."""

    name = "paddleocr_vl"
    model_types = ("paddleocr_vl",)
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)
    # transformers' PaddleOCRVLConfig and PaddleOCRTextConfig.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<unk>": 0,
        "<s>": 1,
        "</s>": 2,
        "<|IMAGE_PLACEHOLDER|>": 100295,
        "<|IMAGE_START|>": 101305,
        "<|IMAGE_END|>": 101306,
    }
    generation: ClassVar = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

    def model(self) -> Any:
        from transformers import PaddleOCRVLConfig, PaddleOCRVLForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "vocab_size": _VOCABULARY,
            "head_dim": 32,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 5e5},
            "tie_word_embeddings": False,
        }
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        config = PaddleOCRVLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
        return PaddleOCRVLForConditionalGeneration(config)

    def processor(self) -> Any:
        from transformers import PaddleOCRVLImageProcessor, PaddleOCRVLProcessor

        tokenizer = byte_level_tokenizer(
            {**self.special_ids, **_START},
            _VOCABULARY,
            eos_token="</s>",
            pad_token="<unk>",
            unk_token="<unk>",
            extra_special_tokens={"image_token": "<|IMAGE_PLACEHOLDER|>"},
        )
        return PaddleOCRVLProcessor(
            image_processor=PaddleOCRVLImageProcessor(), tokenizer=tokenizer, chat_template=_CHAT_TEMPLATE
        )

    def placeholder_ids(self, config: Mapping[str, Any]) -> dict[Modality, int]:
        return {"image": config["image_token_id"]}
