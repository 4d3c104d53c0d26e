"""What a checkpoint's folder has to hold, and what each of its files is needed for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_parity.util.errors import UnknownModelError

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

TRUST_REMOTE_CODE = "trust_remote_code"
"""The key of a model list under which a checkpoint's own code is run."""


@dataclass(frozen=True)
class _RequiredFile:
    what: str
    purpose: str
    patterns: tuple[str, ...]
    """Any one of these files will do."""


# The names under which transformers 5 looks for them; the tokenizers of checkpoints that bring their own
# code (Qwen's and Kimi's ``*.tiktoken``, ``tiktoken.model``) and Mistral's (``tekken.json``) besides.
_TOKENIZER = _RequiredFile(
    "tokenizer",
    "the ids",
    ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tekken.json", "*tiktoken*"),
)
_PROCESSOR = _RequiredFile(
    "processor", "the media and their spans", ("preprocessor_config.json", "processor_config.json")
)
_WEIGHTS = _RequiredFile(
    "weights",
    "the depth logits; `--depth tokens` needs none",
    tuple(f"*{suffix}" for suffix in WEIGHT_SUFFIXES),
)


def check_required_files(folder: Path, source: str, weights: bool) -> None:
    """Makes sure that a checkpoint is whole.

    Args:
        folder: the checkpoint.
        source: what the user knows it by.
        weights: whether they are needed.

    Raises:
        UnknownModelError: something is missing; the message names all of it, and what it is needed for.
    """
    needed = (_TOKENIZER, _PROCESSOR, _WEIGHTS) if weights else (_TOKENIZER, _PROCESSOR)
    missing = [each for each in needed if not _has_file(folder, each)]
    if missing:
        raise UnknownModelError("\n".join(f"{source}: {_format_requirement(each)}" for each in missing))


def read_configuration(folder: Path, source: str) -> dict[str, Any]:
    """What ``config.json`` holds, with a ``model_type``.

    Raises:
        UnknownModelError: there is no ``config.json``, or it names no ``model_type``.
    """
    path = folder / "config.json"
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        return {**config, "model_type": str(config["model_type"])}
    except FileNotFoundError as missing:
        raise UnknownModelError(
            f"{source}: no checkpoint: it holds no config.json, which says what architecture it is of"
        ) from missing
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UnknownModelError(f"{path}: no JSON object with a model_type: {problem!r}") from problem


def reject_remote_code(folder: Path, source: str) -> str:
    """What to tell of a checkpoint that cannot be loaded without the code that it brings."""
    files = ", ".join(sorted(_files_with_code(folder))) or "config.json"
    return (
        f"{source} brings code of its own (auto_map in {files}), which is not run unless its entry in the "
        f"model list says {TRUST_REMOTE_CODE} = true: read the code, then see docs/models.md"
    )


def _has_file(folder: Path, needed: _RequiredFile) -> bool:
    return any(True for pattern in needed.patterns for _ in folder.glob(pattern))


def _format_requirement(needed: _RequiredFile) -> str:
    return (
        f"no {needed.what} in it, which is needed for {needed.purpose}: one of {', '.join(needed.patterns)}"
    )


def _files_with_code(folder: Path) -> Iterator[str]:
    for path in folder.glob("*config.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "auto_map" in content:
            yield path.name
