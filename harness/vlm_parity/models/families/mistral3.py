"""Mistral Small 3.1: Pixtral's tower, with squares of patches merged."""

from __future__ import annotations

from typing import Any

from vlm_parity.models.families.pixtral_base import TEXT, VISION, PixtralTower

# Renders as the template of mistralai/Mistral-Small-3.1-24B-Instruct-2503, but for its own system
# message, which holds today's date.
_CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
  {%- if message['role'] == 'system' %}
    {%- if message['content'] is string %}
      {{- '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}
    {%- else %}
      {{- '[SYSTEM_PROMPT]' + message['content'][0]['text'] + '[/SYSTEM_PROMPT]' }}
    {%- endif %}
  {%- elif message['role'] == 'user' %}
    {%- if message['content'] is string %}
      {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- else %}
      {{- '[INST]' }}
      {%- for block in message['content'] %}
        {%- if block['type'] == 'text' %}
          {{- block['text'] }}
        {%- elif block['type'] == 'image' or block['type'] == 'image_url' %}
          {{- '[IMG]' }}
        {%- else %}
          {{- raise_exception('Only text and image blocks are supported in message content!') }}
        {%- endif %}
      {%- endfor %}
      {{- '[/INST]' }}
    {%- endif %}
  {%- elif message['role'] == 'assistant' %}
    {%- if message['content'] is string %}
      {{- message['content'] + eos_token }}
    {%- else %}
      {{- message['content'][0]['text'] + eos_token }}
    {%- endif %}
  {%- endif %}
{%- endfor %}
"""


class Mistral3(PixtralTower):
    """A tiny ``Mistral3ForConditionalGeneration``."""

    name = "mistral3"
    model_types = ("mistral3",)
    chat_template = _CHAT_TEMPLATE
    side = 336  # released: 1540
    patch = 14
    merged = 2

    def model(self) -> Any:
        from transformers import Mistral3Config, Mistral3ForConditionalGeneration

        return Mistral3ForConditionalGeneration(
            Mistral3Config(
                text_config=TEXT,
                vision_config={**VISION, "image_size": self.side, "patch_size": self.patch},
                image_token_index=self.special_ids["[IMG]"],
                spatial_merge_size=self.merged,
                vision_feature_layer=-1,
                projector_hidden_act="gelu",
                multimodal_projector_bias=False,
                tie_word_embeddings=False,
            )
        )
