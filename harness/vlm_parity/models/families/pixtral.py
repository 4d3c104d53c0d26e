"""Pixtral 12B in the layout of transformers: LLaVA's model with Pixtral's tower, no patches merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.models.families.pixtral_base import TEXT, VISION, PixtralTower

# Renders as the template of mistral-community/pixtral-12b, which writes a system message before the
# last question. That one takes system and assistant messages that are strings only.
_CHAT_TEMPLATE = """\
{%- macro words(content) -%}
  {{- content if content is string else content[0]['text'] -}}
{%- endmacro -%}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
  {%- set system_message = words(messages[0]['content']) %}
  {%- set loop_messages = messages[1:] %}
{%- else %}
  {%- set loop_messages = messages %}
{%- endif %}
{%- for message in loop_messages %}
  {%- if message['role'] == 'user' %}
    {{- '[INST]' }}
    {%- if loop.last and system_message is defined %}
      {{- system_message + '\\n\\n' }}
    {%- endif %}
    {%- if message['content'] is string %}
      {{- message['content'] }}
    {%- else %}
      {%- for chunk in message['content'] %}
        {%- if chunk['type'] == 'text' %}
          {{- chunk['text'] }}
        {%- elif chunk['type'] == 'image' %}
          {{- '[IMG]' }}
        {%- else %}
          {{- raise_exception('Unrecognized content type!') }}
        {%- endif %}
      {%- endfor %}
    {%- endif %}
    {{- '[/INST]' }}
  {%- elif message['role'] == 'assistant' %}
    {{- words(message['content']) + eos_token }}
  {%- endif %}
{%- endfor %}
"""


class Pixtral(PixtralTower):
    """A tiny ``LlavaForConditionalGeneration`` around a Pixtral tower."""

    name = "pixtral"
    model_types = ("llava",)
    chat_template = _CHAT_TEMPLATE
    side = 256  # released: 1024
    patch = 16
    merged = 1

    def matches_config(self, config: Mapping[str, Any]) -> bool:
        return super().matches_config(config) and config["vision_config"].get("model_type") == "pixtral"

    def model(self) -> Any:
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        return LlavaForConditionalGeneration(
            LlavaConfig(
                text_config=TEXT,
                vision_config={**VISION, "image_size": self.side, "patch_size": self.patch},
                image_token_index=self.special_ids["[IMG]"],
                vision_feature_layer=-1,
                vision_feature_select_strategy="full",
                image_seq_length=1,
                tie_word_embeddings=False,
            )
        )
