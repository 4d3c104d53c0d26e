"""Files that a checkpoint must contain, and the purpose of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_parity.models.weight_files import MAX_JSON_BYTES, check_weight_files
from vlm_parity.util.errors import UnknownModelError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file

_NEVER_EMPTY = (".json", ".jinja")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

TRUST_REMOTE_CODE = "trust_remote_code"
"""Key of the model list that permits code from a checkpoint."""


@dataclass(frozen=True)
class _RequiredFile:
    name: str
    purpose: str
    patterns: tuple[str, ...]
    """One matching file is enough."""


# The names that transformers 5 looks for, those of tokenizers with code in the checkpoint (Qwen's and Kimi's
# ``*.tiktoken``, ``tiktoken.model``), and Mistral's ``tekken.json``.
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
    """Check that a checkpoint is complete.

    Args:
        folder: the checkpoint.
        source: its name for the user.
        weights: True if weights are required.

    Raises:
        UnknownModelError: files are missing, empty or cut off; the message names all of them.
    """
    required = (_TOKENIZER, _PROCESSOR, _WEIGHTS) if weights else (_TOKENIZER, _PROCESSOR)
    problems = [_format_requirement(file) for file in required if not _has_file(folder, file)]
    problems += _find_remains(folder)
    if problems:
        raise UnknownModelError("\n".join(f"{source}: {problem}" for problem in problems))
    if weights:
        check_weight_files(folder, source)


def is_checkpoint(folder: Path) -> bool:
    """Return whether an existing folder holds the configuration of a model."""
    return (folder / "config.json").is_file()


def read_configuration(folder: Path, source: str) -> dict[str, Any]:
    """Read ``config.json``, which must have a ``model_type``.

    Raises:
        UnknownModelError: ``config.json`` is missing, or has no ``model_type``.
    """
    path = folder / "config.json"
    if not path.exists():
        raise UnknownModelError(
            f"{source}: not a checkpoint: it has no config.json, which states the architecture"
        )
    try:
        config: Any = json.loads(read_regular_file(path, MAX_JSON_BYTES))
        return {**config, "model_type": str(config["model_type"])}
    except (UnreadableFileError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnknownModelError(f"{path}: no JSON object with a model_type: {error!r}") from error


def describe_remote_code(folder: Path, source: str) -> str:
    """Format the error about a checkpoint that cannot be loaded without running code in it."""
    files = ", ".join(sorted(_list_files_with_code(folder))) or "config.json"
    return (
        f"{source} contains code (auto_map in {files}), which runs only if its entry in the model list has "
        f"{TRUST_REMOTE_CODE} = true: read the code first, then see docs/guides/check_a_model.md"
    )


def _has_file(folder: Path, file: _RequiredFile) -> bool:
    return any(True for pattern in file.patterns for _ in folder.glob(pattern))


def _find_remains(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file but weights of which only the name is left.

    An interrupted copy leaves empty files; a cleaned cache of the hub leaves links to files that are gone.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in WEIGHT_SUFFIXES:
            continue
        if file.is_symlink() and not file.exists():
            yield f"{file.name} is a link to a file that is gone: remove the folder and download it again"
        elif file.suffix in _NEVER_EMPTY and file.stat().st_size == 0:
            yield f"{file.name} is empty: copy or download it again"


def _format_requirement(file: _RequiredFile) -> str:
    return f"no {file.name} in it, which is needed for {file.purpose}: one of {', '.join(file.patterns)}"


def _list_files_with_code(folder: Path) -> Iterator[str]:
    for path in folder.glob("*config.json"):
        try:
            content = json.loads(read_regular_file(path, MAX_JSON_BYTES))
        except (UnreadableFileError, ValueError, RecursionError):
            continue  # it names no code that could be loaded
        if isinstance(content, dict) and "auto_map" in content:
            yield path.name
