"""Contents of a checkpoint: a stamp within a session, and a digest from run to run.

An engine and its reference load the same files, minutes apart. If they were deleted or replaced in between, a
comparison would be worthless, and a cached reference would belong to another checkpoint. The stamp shows it.
The digest is the same for copies of a checkpoint on other machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.required_files import WEIGHT_SUFFIXES
from vlm_parity.schema.manifest import MANIFEST_FILE, Manifest, check_manifest
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import CheckpointChangedError, DamagedFolderError

_MANIFEST = "manifest:"
_STAMPS = "stamps:"
_SAMPLES, _SAMPLE_BYTES = 64, 2**16
_WRITER = "transformers_version"
"""The version that wrote a configuration, in which nothing else may have changed."""


def format_manifest_content(manifest: Manifest) -> str:
    """Return the content of a checkpoint in the cache, whose manifest covers every byte."""
    return f"{_MANIFEST}{manifest.digest}"


def compute_content(folder: Path) -> str:
    """Compute the content of a folder or a snapshot of the hub, whose weights take minutes to read.

    Weights count by size and time of modification, all other files by their bytes. Hidden files do not count.
    """
    stamps = {name: _compute_file_stamp(file) for name, file in _list_files(folder)}
    return f"{_STAMPS}{compute_digest(stamps)}"


def compute_checkpoint_digest(folder: Path, weights: bool) -> str:
    """Compute the digest that identifies a checkpoint from run to run, on any machine.

    Weights count by their size and 64 samples of 64 KiB, JSON without the version of transformers that wrote
    it, all other files by their bytes. Hidden files and manifests do not count.

    Args:
        folder: the checkpoint.
        weights: include the weights; a session that needs none may have them or not.
    """
    digests = {
        name: _compute_sample_digest(file) if file.suffix in WEIGHT_SUFFIXES else _compute_text_digest(file)
        for name, file in _list_files(folder)
        if name != MANIFEST_FILE and (weights or file.suffix not in WEIGHT_SUFFIXES)
    }
    return compute_digest(digests)


def check_unchanged(checkpoint: Checkpoint) -> None:
    """Check that the files are still those that the session has found.

    Raises:
        CheckpointChangedError: they are not.
    """
    if not checkpoint.content:
        return
    try:
        if checkpoint.content.startswith(_MANIFEST):
            found = format_manifest_content(check_manifest(checkpoint.path))
        else:
            found = compute_content(checkpoint.path)
    except (DamagedFolderError, OSError) as error:
        raise CheckpointChangedError(_format_change(checkpoint, f": {error}")) from error
    if found != checkpoint.content:
        raise CheckpointChangedError(_format_change(checkpoint, ""))


def _format_change(checkpoint: Checkpoint, reason: str) -> str:
    return (
        f"the files of {checkpoint.name} in {checkpoint.path} changed during the session{reason}; run again "
        "when nothing writes there"
    )


def _compute_file_stamp(file: Path) -> str:
    if file.suffix in WEIGHT_SUFFIXES:
        return f"{file.stat().st_size} {file.stat().st_mtime_ns}"
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of each visible file within the folder, and its path."""
    for file in folder.rglob("*"):
        name = str(file.relative_to(folder))
        if file.is_file() and not name.startswith("."):
            yield name, file


def _compute_sample_digest(file: Path) -> str:
    size = file.stat().st_size
    last = max(size - _SAMPLE_BYTES, 0)
    offsets = [*range(0, last, max(last // (_SAMPLES - 1), _SAMPLE_BYTES)), last]
    digest = hashlib.sha256(f"{size} ".encode())
    with file.open("rb") as content:
        for offset in offsets:
            content.seek(offset)
            digest.update(content.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _compute_text_digest(file: Path) -> str:
    content = file.read_bytes()
    try:
        data = json.loads(content) if file.suffix == ".json" else None
    except (ValueError, RecursionError):
        data = None  # its bytes count
    if isinstance(data, dict):
        return compute_digest({key: value for key, value in data.items() if key != _WRITER})
    return hashlib.sha256(content).hexdigest()
