"""Qwen3-VL: interleaved rotary positions, deepstack features, timestamps between video frames."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.models.families.qwen_vl_base import SPECIAL_IDS, TEXT_SIZES, QwenVLFamily
from vlm_parity.models.synthetic.qwen_tokenizer_files import THINKING_TOKENS, TOOL_TOKENS

# Released; sizes in pixels: of one picture, and of all frames of one video.
_PATCHES = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
}
_IMAGE = {
    **_PATCHES,
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
_VIDEO = {
    **_PATCHES,
    "size": {"longest_edge": 25165824, "shortest_edge": 4096},
    "video_processor_type": "Qwen3VLVideoProcessor",
}

# Renders as the template of the released Instruct models does without tools: no default system
# turn, and one that does not come first is left out.
_CHAT_TEMPLATE = """\
{%- set image_count = namespace(value=0) -%}
{%- set video_count = namespace(value=0) -%}
{%- for message in messages -%}
  {%- if message.role != 'system' or loop.first -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.content is string -%}
      {{- message.content -}}
    {%- else -%}
      {%- for content in message.content -%}
        {%- if content.type == 'image' or 'image' in content or 'image_url' in content -%}
          {%- set image_count.value = image_count.value + 1 -%}
          {%- if add_vision_id -%}{{- 'Picture ' ~ image_count.value ~ ': ' -}}{%- endif -%}
          {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
        {%- elif content.type == 'video' or 'video' in content -%}
          {%- set video_count.value = video_count.value + 1 -%}
          {%- if add_vision_id -%}{{- 'Video ' ~ video_count.value ~ ': ' -}}{%- endif -%}
          {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
        {%- elif 'text' in content -%}
          {{- content.text -}}
        {%- endif -%}
      {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


TEXT = {
    **TEXT_SIZES,
    "num_hidden_layers": 3,  # LMDeploy needs more than there are deepstack levels, as released models have
    "head_dim": 32,
    "rope_parameters": {
        "rope_type": "default",
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
        "rope_theta": 5e6,
    },
}
VISION = {
    "deepstack_visual_indexes": [0, 1],
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "num_position_embeddings": 2304,
    "out_hidden_size": 64,
}


class Qwen3VL(QwenVLFamily):
    """A tiny Qwen3-VL with the tokenizer, processor and template of the released Instruct models."""

    name = "qwen3_vl"
    model_types = ("qwen3_vl",)
    tunable = ("min_pixels", "max_pixels", "num_frames", "fps")
    chat_template = _CHAT_TEMPLATE
    more_tokens: ClassVar[tuple[str, ...]] = TOOL_TOKENS + THINKING_TOKENS
    max_length = 262144
    generation: ClassVar = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}

    def model(self) -> Any:
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        config = Qwen3VLConfig(
            text_config=TEXT,
            vision_config=VISION,
            tie_word_embeddings=False,
            **SPECIAL_IDS,
        )
        return Qwen3VLForConditionalGeneration(config)

    def preprocessors(self) -> dict[str, dict[str, Any]]:
        return {"preprocessor_config.json": _IMAGE, "video_preprocessor_config.json": _VIDEO}
