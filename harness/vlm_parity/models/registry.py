"""Registry of model families, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_parity.models.families.base import Family

FAMILIES = {
    "qwen2_vl": "vlm_parity.models.families.qwen2_vl:Qwen2VL",
    "qwen2_5_vl": "vlm_parity.models.families.qwen2_5_vl:Qwen25VL",
    "qwen3_vl": "vlm_parity.models.families.qwen3_vl:Qwen3VL",
    "qwen3_5": "vlm_parity.models.families.qwen3_5:Qwen35",
    "internvl": "vlm_parity.models.families.internvl:InternVL",
    "glm4v": "vlm_parity.models.families.glm4v:Glm4v",
    "minicpmv4_6": "vlm_parity.models.families.minicpmv4_6:MiniCPMV46",
    "gemma3": "vlm_parity.models.families.gemma3:Gemma3",
    "paligemma": "vlm_parity.models.families.paligemma:PaliGemma",
    "gemma4": "vlm_parity.models.families.gemma4:Gemma4",
    "pixtral": "vlm_parity.models.families.pixtral:Pixtral",  # whose model_type is llava
    "llava": "vlm_parity.models.families.llava:Llava",
    "llava_next": "vlm_parity.models.families.llava_next:LlavaNext",
    "llava_onevision": "vlm_parity.models.families.llava_onevision:LlavaOnevision",
    "llava_next_video": "vlm_parity.models.families.llava_next_video:LlavaNextVideo",
    "mistral3": "vlm_parity.models.families.mistral3:Mistral3",
    "idefics3": "vlm_parity.models.families.idefics3:Idefics3",
    "smolvlm": "vlm_parity.models.families.smolvlm:SmolVLM",
    "qwen2_5_omni": "vlm_parity.models.families.qwen2_5_omni:Qwen25Omni",
    "qwen3_omni_moe": "vlm_parity.models.families.qwen3_omni_moe:Qwen3OmniMoe",
    "deepseek_vl": "vlm_parity.models.families.deepseek_vl:DeepseekVL",
    "kimi_k25": "vlm_parity.models.families.kimi_k25:KimiK25",
}

DEFAULT_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Families of a session without ``--model``; all of them would take an hour."""
ALL_FAMILIES = "all"
"""Value of ``--model`` that selects every family."""


def load_family(name: str) -> Family:
    """Load a family by name.

    Raises:
        KeyError: no family has this name.
    """
    module, _, attribute = FAMILIES[name].partition(":")
    family_class: type[Family] = getattr(import_module(module), attribute)
    return family_class()
