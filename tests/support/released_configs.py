"""Released checkpoints without weights: the files of a synthetic one with a released ``config.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from vlm_parity.models.build import build_checkpoint
from vlm_parity.models.required_files import WEIGHT_SUFFIXES

# config.json of Qwen/Qwen2-VL-2B-Instruct, with the keys of the text model at the top level.
QWEN2_VL: Mapping[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_vl",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}

# config.json of Qwen/Qwen3-VL-2B-Instruct.
QWEN3_VL: Mapping[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}

# Like Qwen/Qwen3-VL-30B-A3B-Instruct, which no registered family matches: 128 experts, 8 of them active.
QWEN3_VL_MOE: Mapping[str, Any] = {
    **QWEN3_VL,
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "model_type": "qwen3_vl_moe",
    "text_config": {
        **QWEN3_VL["text_config"],
        "model_type": "qwen3_vl_moe_text",
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "tie_word_embeddings": False,
    },
    "tie_word_embeddings": False,
    "vision_config": {
        **QWEN3_VL["vision_config"],
        "deepstack_visual_indexes": [8, 16, 24],
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "model_type": "qwen3_vl_moe",
    },
}

# config.json of OpenGVLab/InternVL3-1B-hf.
INTERNVL: Mapping[str, Any] = {
    "architectures": ["InternVLForConditionalGeneration"],
    "downsample_ratio": 0.5,
    "image_seq_length": 256,
    "image_token_id": 151667,
    "model_type": "internvl",
    "projector_hidden_act": "gelu",
    "text_config": {
        "architectures": ["Qwen2ForCausalLM"],
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": 151674,
    },
    "torch_dtype": "bfloat16",
    "vision_config": {
        "architectures": ["InternVisionModel"],
        "attention_bias": True,
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": [448, 448],
        "intermediate_size": 4096,
        "layer_scale_init_value": 0.1,
        "model_type": "internvl_vision",
        "norm_type": "layer_norm",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "patch_size": [14, 14],
        "use_absolute_position_embeddings": True,
        "use_mask_token": False,
        "use_mean_pooling": True,
        "use_qk_norm": False,
    },
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
}


def _set_tiles_of_448(processor: dict[str, Any]) -> dict[str, Any]:
    """Set the released sizes of InternVL's processor: tiles of 448 pixels with 256 positions each."""
    size = {"height": 448, "width": 448}
    for name in ("image_processor", "video_processor"):
        processor[name]["size"] = size
    return {**processor, "image_seq_length": 256}


RELEASED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "qwen2_vl": ("qwen2_vl", QWEN2_VL),
    "qwen3_vl": ("qwen3_vl", QWEN3_VL),
    "qwen3_vl_moe": ("qwen3_vl", QWEN3_VL_MOE),
    "internvl": ("internvl", INTERNVL),
}
"""The family whose synthetic checkpoint has the other files, and the configuration, by ``model_type``."""

_CHANGES: Mapping[str, Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "internvl": {"processor_config.json": _set_tiles_of_448},
}
"""Changes to other files with sizes of the synthetic checkpoint, by ``model_type`` and file."""


def write_config_only(model_type: str, folder: Path) -> Path:
    """Write the checkpoint into ``folder``, which must not exist.

    Raises:
        CheckpointBuildError: the synthetic checkpoint cannot be built.
    """
    family, config = RELEASED[model_type]
    weights = ignore_patterns(*(f"*{suffix}*" for suffix in WEIGHT_SUFFIXES))
    copytree(build_checkpoint(family).path, folder, ignore=weights)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name, change in _CHANGES.get(model_type, {}).items():
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2))
    return folder
