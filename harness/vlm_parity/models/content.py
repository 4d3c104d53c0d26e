"""Contents of a checkpoint, so that a change between two loads of it is found.

An engine and its reference load the same files, minutes apart. If they were deleted or replaced in between, a
comparison would be worthless, and a cached reference would belong to another checkpoint.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.required_files import WEIGHT_SUFFIXES
from vlm_parity.schema.manifest import Manifest, check_manifest
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.errors import CheckpointChangedError, DamagedFolderError

_MANIFEST = "manifest:"
_STAMPS = "stamps:"


def format_manifest_content(manifest: Manifest) -> str:
    """Return the content of a checkpoint in the cache, whose manifest covers every byte."""
    return f"{_MANIFEST}{manifest.digest}"


def compute_content(folder: Path) -> str:
    """Compute the content of a folder or a snapshot of the hub, whose weights take minutes to read.

    Weights count by size and time of modification, all other files by their bytes. Hidden files do not count.
    """
    files = (file for file in folder.rglob("*") if file.is_file())
    visible = {str(name): folder / name for name in (file.relative_to(folder) for file in files)}
    stamps = {name: _compute_file_stamp(file) for name, file in visible.items() if not name.startswith(".")}
    return f"{_STAMPS}{compute_digest(stamps)}"


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
