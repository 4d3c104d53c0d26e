"""Checkpoint files in the form before transformers 5, which most released checkpoints have.

transformers 5 writes a form of its own (``rope_parameters``, ``dtype``, one file for a whole processor) and
reads both; earlier releases read only the older form. The weights are not copied: older releases run at the
depth ``tokens``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

from vlm_parity.models.required_files import WEIGHT_SUFFIXES
from vlm_parity.schema.manifest import MANIFEST_FILE

FLAT = ("qwen2_vl", "qwen2_5_vl")
"""Values of ``model_type`` in released configurations with the keys of the text model at the top level."""
_ARCHITECTURE = ("model_type", "architectures")
_ARCHITECTURES = {"Qwen2_5OmniForConditionalGeneration": "Qwen2_5OmniModel"}
"""Names of architectures in transformers 5, to those in the released files, which vLLM 0.8.5 reads."""
_TOKENIZERS = {"Qwen2_5OmniProcessor": "Qwen2Tokenizer"}
"""Tokenizer classes in released files, by processor: these require one, and transformers 5 writes none."""
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
    """Write the files of a checkpoint, without weights, in the older form.

    Args:
        source: a checkpoint saved by transformers 5.
        folder: the folder to write into; it is created if it does not exist.
    """
    left_out = (MANIFEST_FILE, *(f"*{suffix}" for suffix in WEIGHT_SUFFIXES))
    copytree(source, folder, ignore=ignore_patterns(*left_out), dirs_exist_ok=True)
    _rewrite(folder / "config.json", build_legacy_config)
    _rewrite(folder / "tokenizer_config.json", build_legacy_tokenizer)
    processor = folder / "processor_config.json"
    if processor.exists():
        for name, content in build_legacy_processor(_read(processor)).items():
            _write(folder / name, content)


def build_legacy_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a ``config.json``, and the configurations nested in it, to the older form."""
    legacy: dict[str, Any] = {}
    for name, value in config.items():
        if name == "rope_parameters":
            legacy |= _build_rope(value, str(config.get("model_type")).removesuffix("_text") in FLAT)
        elif name == "dtype":
            legacy["torch_dtype"] = value
        elif name == "architectures":
            legacy[name] = [_ARCHITECTURES.get(architecture, architecture) for architecture in value or ()]
        else:
            legacy[name] = build_legacy_config(value) if isinstance(value, Mapping) else value
    if legacy.get("model_type") in FLAT and "text_config" in legacy:
        text = legacy.pop("text_config")
        return {**{name: text[name] for name in text if name not in _ARCHITECTURE}, **legacy}
    return legacy


def _build_rope(parameters: Mapping[str, Any], is_flat: bool) -> dict[str, Any]:
    """Build ``rope_theta`` and, unless it is the default, ``rope_scaling``.

    Multimodal positions have the type of the released files: ``mrope`` in those of ``FLAT``, ``default``
    under two keys in newer ones (Qwen2.5-Omni's). vLLM rejects two types that differ.
    """
    if parameters.get("rope_type") == "axial":
        return {}  # of a vision tower; older releases compute it without parameters
    scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
    if "mrope_section" in scaling:
        rope_type = {"type": "mrope"} if is_flat else {"type": "default", "rope_type": "default"}
        scaling = {**rope_type, "mrope_section": scaling["mrope_section"]}
    theta = {"rope_theta": parameters["rope_theta"]}
    return theta if scaling == {"rope_type": "default"} else {**theta, "rope_scaling": scaling}


def build_legacy_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a ``tokenizer_config.json`` to the older form."""
    legacy = {name: value for name, value in config.items() if name != "backend"}
    if legacy.get("tokenizer_class") == "TokenizersBackend":
        processor = str(legacy.get("processor_class"))
        legacy["tokenizer_class"] = _TOKENIZERS.get(processor, "PreTrainedTokenizerFast")
    if isinstance(legacy.get("extra_special_tokens"), list):
        named = {name: value for name, value in legacy.items() if name.endswith("_token")}
        legacy["extra_special_tokens"] = {
            name: value for name, value in named.items() if name not in _STANDARD_TOKENS
        }
    return legacy


def build_legacy_processor(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Split a processor configuration into files for images and audio, for videos, and for the rest."""
    rest = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    preprocessor = {
        **config.get("feature_extractor", {}),
        **_build_legacy_limits(config.get("image_processor", {})),
    }
    files = {"processor_config.json": rest}
    if preprocessor:
        files["preprocessor_config.json"] = {**preprocessor, "processor_class": config.get("processor_class")}
    if "video_processor" in config:
        files["video_preprocessor_config.json"] = config["video_processor"]
    return files


def _build_legacy_limits(image_processor: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the limits on image sizes to the keys that older libraries and vLLM read."""
    if image_processor.get("image_processor_type") != "Qwen2VLImageProcessor":
        return dict(image_processor)
    size = image_processor["size"]
    limits = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    return {**{name: value for name, value in image_processor.items() if name != "size"}, **limits}


def _rewrite(path: Path, change: Any) -> None:
    _write(path, change(_read(path)))


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
