"""The model families, one module each, found by name and imported only when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.models.family import Family

FAMILIES = {
    "qwen2_vl": "harness.models.qwen2_vl:Qwen2VL",
    "qwen2_5_vl": "harness.models.qwen2_5_vl:Qwen25VL",
    "qwen3_vl": "harness.models.qwen3_vl:Qwen3VL",
    "qwen3_5": "harness.models.qwen3_5:Qwen35",
    "internvl": "harness.models.internvl:InternVL",
    "glm4v": "harness.models.glm4v:Glm4v",
    "minicpmv4_6": "harness.models.minicpmv4_6:MiniCPMV46",
    "gemma3": "harness.models.gemma3:Gemma3",
    "paligemma": "harness.models.paligemma:PaliGemma",
    "gemma4": "harness.models.gemma4:Gemma4",
    "pixtral": "harness.models.pixtral:Pixtral",  # whose model_type is llava
    "llava": "harness.models.llava:Llava",
    "llava_next": "harness.models.llava_next:LlavaNext",
    "llava_onevision": "harness.models.llava_onevision:LlavaOnevision",
    "llava_next_video": "harness.models.llava_next_video:LlavaNextVideo",
    "mistral3": "harness.models.mistral3:Mistral3",
    "idefics3": "harness.models.idefics3:Idefics3",
    "smolvlm": "harness.models.smolvlm:SmolVLM",
    "qwen2_5_omni": "harness.models.qwen2_5_omni:Qwen25Omni",
    "qwen3_omni_moe": "harness.models.qwen3_omni_moe:Qwen3OmniMoe",
    "deepseek_vl": "harness.models.deepseek_vl:DeepseekVL",
    "kimi_k25": "harness.models.kimi_k25:KimiK25",
}

DEFAULT = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""What a session covers if nothing else is asked for; all of them take an hour."""
ALL = "all"
"""Stands for every family."""


def load_family(name: str) -> Family:
    """The family of this name; ``KeyError`` if there is none."""
    module, _, attribute = FAMILIES[name].partition(":")
    found: type[Family] = getattr(import_module(module), attribute)
    return found()
