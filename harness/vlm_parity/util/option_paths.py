"""Checks of the paths that a user names, before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

from vlm_parity.util.errors import UsageError

_LONGEST_PATH = 200
"""Characters of a path in a message."""


def find_folder(text: str) -> Path | None:
    """Return the existing folder that a text names, with ``~`` expanded; None if there is none."""
    try:
        folder = Path(text).expanduser()
        return folder if text and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, or the home of an unknown user
        return None


def path_exists(option: str, path: Path) -> bool:
    """Return whether a file or folder exists.

    Args:
        option: the option or argument that names it, for the message.
        path: its path.

    Raises:
        UsageError: no file system accepts the path, such as one that is too long.
    """
    return _find_existing(option, path) == path.absolute()


def check_folder(option: str, folder: Path) -> None:
    """Check that a folder to read exists.

    Args:
        option: the option or argument that names it, for the message.
        folder: its path.

    Raises:
        UsageError: it does not.
    """
    if not path_exists(option, folder):
        raise _build_error(option, folder, "no such folder")
    if not folder.is_dir():
        raise _build_error(option, folder, "is a file, not a folder")


def check_output_folder(option: str, folder: Path) -> None:
    """Check that a folder could be created and written; nothing is created.

    Args:
        option: the option or argument that names it, for the message.
        folder: its path.

    Raises:
        UsageError: a file is in its place or above it, or its parent is not writable.
    """
    _check_parent(option, folder, "folder")


def check_output_file(option: str, file: Path) -> None:
    """Check that a file could be written; nothing is created.

    Args:
        option: the option that names it, for the message.
        file: its path.

    Raises:
        UsageError: the path is a folder, or its own folder cannot be created or written.
    """
    _check_parent(option, file.absolute().parent, "file")
    if path_exists(option, file) and file.is_dir():
        raise _build_error(option, file, "is a folder, not a file")


def _check_parent(option: str, folder: Path, kind: str) -> None:
    existing = _find_existing(option, folder)
    remedy = f"name another {kind} with {option}"
    if not existing.is_dir():
        raise _build_error(option, folder, f"{existing} is a file, not a folder: {remedy}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _build_error(option, folder, f"{existing} is not writable: {remedy}")


def _find_existing(option: str, path: Path) -> Path:
    """Return the absolute path, or its nearest parent that exists."""
    absolute = path.absolute()
    try:
        return next(candidate for candidate in (absolute, *absolute.parents) if _exists(candidate))
    except OSError as error:  # such as a name that is too long for the file system
        raise _build_error(option, path, error.strerror or str(error)) from None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _build_error(option: str, path: Path, reason: str) -> UsageError:
    text = str(path)
    shown = text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}..."
    return UsageError(f"{option} {shown}: {reason}")
