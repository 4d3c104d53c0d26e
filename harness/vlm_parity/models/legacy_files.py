"""A checkpoint's files as libraries before transformers 5 read them, and as most released ones hold them.

transformers 5 writes its own form (``rope_parameters``, ``dtype``, one file for all of a processor), and
reads the older one as well. Releases before it read only that. The weights stay behind: older releases are
asked at the depth ``tokens``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from vlm_parity.models.required_files import WEIGHT_SUFFIXES

FLAT = ("qwen2_vl", "qwen2_5_vl")
"""The ``model_type`` of released configurations whose text model's keys lie at the top."""
_ARCHITECTURE = ("model_type", "architectures")
_ARCHITECTURES = {"Qwen2_5OmniForConditionalGeneration": "Qwen2_5OmniModel"}
"""What transformers 5 calls an architecture, and the released files otherwise; vLLM 0.8.5 goes by theirs."""
_TOKENIZERS = {"Qwen2_5OmniProcessor": "Qwen2Tokenizer"}
"""The tokenizer's class in released files, by processor: one that asks for it by name, where transformers 5
names none."""
_STANDARD_TOKENS = {
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
}


def write_legacy_checkpoint(source: Path, folder: Path) -> None:
    """Writes the files of a checkpoint, without weights, in the older form.

    Args:
        source: the checkpoint that transformers 5 wrote.
        folder: is made; it must not exist.
    """
    copytree(source, folder, ignore=ignore_patterns(*(f"*{suffix}" for suffix in WEIGHT_SUFFIXES)))
    _rewrite(folder / "config.json", build_legacy_config)
    _rewrite(folder / "tokenizer_config.json", build_legacy_tokenizer)
    whole = folder / "processor_config.json"
    if whole.exists():
        for name, content in build_legacy_processor(_read(whole)).items():
            _write(folder / name, content)


def build_legacy_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` in the older form, all models inside it too."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name == "rope_parameters":
            found |= _rope(value, str(config.get("model_type")).removesuffix("_text") in FLAT)
        elif name == "dtype":
            found["torch_dtype"] = value
        elif name == "architectures":
            found[name] = [_ARCHITECTURES.get(each, each) for each in value or ()]
        else:
            found[name] = build_legacy_config(value) if isinstance(value, Mapping) else value
    if found.get("model_type") in FLAT and "text_config" in found:
        text = found.pop("text_config")
        return {**{name: text[name] for name in text if name not in _ARCHITECTURE}, **found}
    return found


def _rope(parameters: Mapping[str, Any], flat: bool) -> dict[str, Any]:
    """``rope_theta`` and, where it is more than the default, ``rope_scaling``.

    Multimodal positions are named as the released files do: those of ``FLAT`` say ``mrope``, newer ones
    (Qwen2.5-Omni's) ``default`` twice. vLLM refuses two names that differ.
    """
    if parameters.get("rope_type") == "axial":
        return {}  # a vision tower's; older ones compute it without being told
    scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
    if "mrope_section" in scaling:
        kind = {"type": "mrope"} if flat else {"type": "default", "rope_type": "default"}
        scaling = {**kind, "mrope_section": scaling["mrope_section"]}
    found = {"rope_theta": parameters["rope_theta"]}
    return found if scaling == {"rope_type": "default"} else {**found, "rope_scaling": scaling}


def build_legacy_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``tokenizer_config.json`` in the older form."""
    found = {name: value for name, value in config.items() if name != "backend"}
    if found.get("tokenizer_class") == "TokenizersBackend":
        processor = str(found.get("processor_class"))
        found["tokenizer_class"] = _TOKENIZERS.get(processor, "PreTrainedTokenizerFast")
    if isinstance(found.get("extra_special_tokens"), list):
        named = {name: value for name, value in found.items() if name.endswith("_token")}
        found["extra_special_tokens"] = {
            name: value for name, value in named.items() if name not in _STANDARD_TOKENS
        }
    return found


def build_legacy_processor(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A file for pictures and sounds, one for videos, one for the rest."""
    rest = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    pictures = {**config.get("feature_extractor", {}), **_legacy_limits(config.get("image_processor", {}))}
    files = {"processor_config.json": rest}
    if pictures:
        files["preprocessor_config.json"] = {**pictures, "processor_class": config.get("processor_class")}
    if "video_processor" in config:
        files["video_preprocessor_config.json"] = config["video_processor"]
    return files


def _legacy_limits(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """How large pictures may be, under the names that older libraries and vLLM look for."""
    if pictures.get("image_processor_type") != "Qwen2VLImageProcessor":
        return dict(pictures)
    size = pictures["size"]
    limits = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    return {**{name: value for name, value in pictures.items() if name != "size"}, **limits}


def _rewrite(path: Path, change: Any) -> None:
    _write(path, change(_read(path)))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
