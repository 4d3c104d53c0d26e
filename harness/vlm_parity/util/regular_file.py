"""Files that others wrote: read only if they are regular files of an expected size."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from vlm_parity.util.errors import UnreadableFileError

_CHUNK_BYTES = 2**20
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a file, unless reading could block, never end, or exhaust the memory.

    Args:
        path: the file; a symbolic link is followed.
        max_bytes: the largest size that is read.

    Raises:
        UnreadableFileError: the file is missing, is not a regular file, is larger, or cannot be read.
    """
    try:
        status = path.stat()
        _check_status(status.st_mode, status.st_size, max_bytes)
        with path.open("rb") as file:
            content = _read(file, max_bytes)
    except OSError as error:
        raise UnreadableFileError(_format_os_error(error)) from error
    except ValueError as error:  # a null byte or half of a surrogate pair in the name
        raise UnreadableFileError(f"the name is not valid: {error}") from error
    return content


def _read(file: BinaryIO, max_bytes: int) -> bytes:
    """Read a whole file; those of /proc have no size until they are read.

    A read of a size allocates all of it first, so the limit is not the size.
    """
    chunks: list[bytes] = []
    size = 0
    while chunk := file.read(_CHUNK_BYTES):
        size += len(chunk)
        _check_size(size, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_status(mode: int, size: int, max_bytes: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise UnreadableFileError(f"is {name}, not a file")
    _check_size(size, max_bytes)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnreadableFileError(f"is too large: {size:,} bytes or more, and the limit is {max_bytes:,}")


def _format_os_error(error: OSError) -> str:
    """Return the reason without the path, which the caller knows."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return (error.strerror or str(error)).lower()
