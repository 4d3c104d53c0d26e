"""Files of Kimi K2.5's checkpoints: its chat template, and what released ones have otherwise.

transformers reads its own layout of files and the released one of weights, vLLM the released ones: both are
in the same folder here.
"""

from __future__ import annotations

import json
from pathlib import Path

from vlm_parity.models.synthetic.qwen_tokenizer_files import write_json

MERGED = 2
"""Patches of a side of the square that is merged."""
FRAMES_OF_A_CHUNK = 4
VIDEO = "<|kimi_k25_video_placeholder|>"

# Of the released preprocessor_config.json, which vLLM's own image processor reads.
_MEDIA = {
    "in_patch_limit": 16384,
    "patch_size": 14,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "merge_kernel_size": MERGED,
    "fixed_output_tokens": None,
    "patch_limit_on_one_side": 512,
    "in_patch_limit_each_frame": 4096,
    "in_patch_limit_video": None,
    "sample_fps": 2.0,
    "max_num_frames_each_video": None,
    "temporal_merge_kernel_size": FRAMES_OF_A_CHUNK,
    "timestamp_mode": "hh:mm:ss.fff",
}

# Renders as the template of moonshotai/Kimi-K2.5 without tools, thinking by default.
CHAT_TEMPLATE = """\
{%- macro body(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'image' or part['type'] == 'image_url' -%}
        {{- '<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\\n' -}}
      {%- elif part['type'] == 'video' or part['type'] == 'video_url' -%}
        {{- '<|kimi_k25_video_placeholder|>\\n' -}}
      {%- else -%}
        {{- part['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {%- if message['role'] == 'assistant' -%}
    {{- '<|im_assistant|>assistant<|im_middle|><think></think>' -}}
  {%- else -%}
    {{- '<|im_' + message['role'] + '|>' + message['role'] + '<|im_middle|>' -}}
  {%- endif -%}
  {{- body(message['content']) + '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_assistant|>assistant<|im_middle|><think>' -}}
{%- endif -%}
"""

_RELEASED_NAMES = {
    "language_model.model.blocks.": "language_model.model.layers.",
    "model.mm_projector.pre_norm": "mm_projector.pre_norm",
    "vision_tower.encoder.patch_embed": "vision_tower.patch_embed",
}
"""What ``save_pretrained`` of transformers 5.19 makes of the weights' names where it turns its own back
into the released ones, to the released ones."""


def convert_to_released(folder: Path) -> None:
    """Gives what ``save_pretrained`` wrote the released names of the weights and of the architecture, and the
    settings that vLLM's image processor reads beside those of transformers'.
    """
    from safetensors.torch import load_file, save_file

    weights = folder / "model.safetensors"
    renamed = {_released_name(name): tensor for name, tensor in load_file(weights).items()}
    save_file(renamed, weights, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "architectures": ["KimiK25ForConditionalGeneration"]})
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"]["media_proc_cfg"] = _MEDIA
    write_json(folder / "processor_config.json", processor)


def _released_name(name: str) -> str:
    for written, released in _RELEASED_NAMES.items():
        name = name.replace(written, released)
    return name
