"""Gemma 3: a picture's positions see each other in both directions, most layers see a window only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.fixed_size_base import FixedSizeFamily
from vlm_parity.models.synthetic.gemma_tokenizer import GEMMA_IDS, build_gemma_tokenizer
from vlm_parity.models.synthetic.synthetic_family import TEXT_SIZES

_SIDE = 112  # pixels of a picture; the released models have 896
_SEQUENCE = 16  # positions of a picture; the released models have 256
_WINDOW = 32  # positions; the released models have 1024

# tokenizer.json and config.json of google/gemma-3-4b-it.
_TOKENS = {
    "<start_of_turn>": 105,
    "<end_of_turn>": 106,
    "<start_of_image>": 255999,
    "<end_of_image>": 256000,
    "<image_soft_token>": 262144,
}
_LINE_FEED, _BYTE = 107, 238

# Renders as the template of google/gemma-3-4b-it: the system's text goes before the user's first, and
# texts are trimmed.
_CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set first_prefix = '' -%}
{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}
  {%- set turns = messages[1:] -%}
  {%- if messages[0]['content'] is string -%}
    {%- set first_prefix = messages[0]['content'] + '\\n\\n' -%}
  {%- else -%}
    {%- set first_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
  {%- endif -%}
{%- endif -%}
{%- for message in turns -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
  {%- endif -%}
  {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
  {{- '<start_of_turn>' + role + '\\n' + (first_prefix if loop.first else '') -}}
  {%- if message['content'] is string -%}
    {{- message['content'] | trim -}}
  {%- else -%}
    {%- for item in message['content'] -%}
      {%- if item['type'] == 'image' -%}
        {{- '<start_of_image>' -}}
      {%- elif item['type'] == 'text' -%}
        {{- item['text'] | trim -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""


class Gemma3(FixedSizeFamily):
    """A tiny Gemma 3 with five layers that see a window and one that sees everything."""

    name = "gemma3"
    folder = "gemma-3-4b-it"
    model_types = ("gemma3",)
    special_ids: ClassVar[Mapping[str, int]] = {**GEMMA_IDS, **_TOKENS}
    generation: ClassVar = {
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "pad_token_id": 0,
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    }

    def model(self) -> Any:
        from transformers import Gemma3Config, Gemma3ForConditionalGeneration

        text = {
            **TEXT_SIZES,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "vocab_size": 262208,
            # The released pattern, which LMDeploy takes for granted: every sixth layer sees everything.
            "num_hidden_layers": 6,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"],
            "sliding_window": _WINDOW,
            # As of google/gemma-3-4b-it.
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
        }
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": _SIDE,
            "patch_size": 14,
            "vision_use_head": False,
        }
        return Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config=text,
                vision_config=vision,
                mm_tokens_per_image=_SEQUENCE,
                boi_token_index=_TOKENS["<start_of_image>"],
                eoi_token_index=_TOKENS["<end_of_image>"],
                image_token_index=_TOKENS["<image_soft_token>"],
                eos_token_id=[1, 106],
                tie_word_embeddings=True,
            )
        )

    def processor(self) -> Any:
        from transformers import Gemma3ImageProcessor, Gemma3Processor

        tokenizer = build_gemma_tokenizer(
            _TOKENS,
            262144,
            _LINE_FEED,
            _BYTE,
            extra_special_tokens={
                "boi_token": "<start_of_image>",
                "eoi_token": "<end_of_image>",
                "image_token": "<image_soft_token>",
            },
        )
        return Gemma3Processor(
            image_processor=Gemma3ImageProcessor(size={"height": _SIDE, "width": _SIDE}),
            tokenizer=tokenizer,
            image_seq_length=_SEQUENCE,
            chat_template=_CHAT_TEMPLATE,
        )

    def features(self, config: Mapping[str, Any]) -> int:
        count: int = config["mm_tokens_per_image"]
        return count
