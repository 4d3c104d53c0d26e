"""Released form of the files of Kimi K2.5's checkpoints.

transformers reads its own processor files and the released names of weights, vLLM the released form of both:
the folder holds all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from vlm_parity.models.synthetic.qwen_tokenizer_files import write_json

MERGE_SIZE = 2
"""Side, in patches, of the squares that are merged."""
FRAMES_PER_CHUNK = 4
VIDEO = "<|kimi_k25_video_placeholder|>"

# From the released preprocessor_config.json, which vLLM's own image processor reads.
_MEDIA = {
    "in_patch_limit": 16384,
    "patch_size": 14,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "merge_kernel_size": MERGE_SIZE,
    "fixed_output_tokens": None,
    "patch_limit_on_one_side": 512,
    "in_patch_limit_each_frame": 4096,
    "in_patch_limit_video": None,
    "sample_fps": 2.0,
    "max_num_frames_each_video": None,
    "temporal_merge_kernel_size": FRAMES_PER_CHUNK,
    "timestamp_mode": "hh:mm:ss.fff",
}

_RELEASED_NAMES = {
    "language_model.model.blocks.": "language_model.model.layers.",
    "model.mm_projector.pre_norm": "mm_projector.pre_norm",
    "vision_tower.encoder.patch_embed": "vision_tower.patch_embed",
}
"""Weight names that ``save_pretrained`` of transformers 5.19 fails to convert back, to the released ones."""


def convert_to_released(folder: Path) -> None:
    """Rename weights and architecture as released, and add the settings that vLLM's image processor reads."""
    from safetensors.torch import load_file, save_file

    weights = folder / "model.safetensors"
    renamed = {_get_released_name(name): tensor for name, tensor in load_file(weights).items()}
    save_file(renamed, weights, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**config, "architectures": ["KimiK25ForConditionalGeneration"]})
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"]["media_proc_cfg"] = _MEDIA
    write_json(folder / "processor_config.json", processor)


def _get_released_name(name: str) -> str:
    for written, released in _RELEASED_NAMES.items():
        name = name.replace(written, released)
    return name
