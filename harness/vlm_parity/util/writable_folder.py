"""Folders that a command will write into at its end, checked at its start."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vlm_parity.util.encoding import check_encoding
from vlm_parity.util.errors import UsageError


def ensure_writable(folder: Path, purpose: str, remedy: str) -> None:
    """Create a folder, and a file in it for a moment.

    Permissions alone do not decide: root may write everywhere but on a read-only file system, and a disk may
    be full.

    Args:
        folder: the folder; it may exist.
        purpose: name of the folder for the user.
        remedy: the end of the error.

    Raises:
        UsageError: one of the two fails, or no record could hold the path; the message names the folder and
            the reason.
    """
    check_encoding([str(folder)])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise UsageError(f"{folder}: {purpose} cannot be written ({error.strerror}): {remedy}") from error


def ensure_writable_run(folder: Path, option: str = "--run") -> None:
    """Create a run folder, and check that pages and shards can be written into it.

    Args:
        folder: the run folder; it may exist.
        option: the option that names it.

    Raises:
        UsageError: it cannot be written.
    """
    ensure_writable(folder, "the run folder", f"name another folder with {option}")


def ensure_writable_file(path: Path, option: str) -> None:
    """Create the folder of a file, and check that the file can be written into it.

    Raises:
        UsageError: it cannot.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder, not a file")
    ensure_writable(path.parent, "the folder", f"name another file with {option}")
