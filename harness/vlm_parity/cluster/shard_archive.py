"""A shard's folder as bytes, which travel from one node to another without a shared file system."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from vlm_parity.schema.run_layout import SHARD_RECORD, is_path_component
from vlm_parity.util.errors import RecordError

_MAX_DEPTH = 10
_DAMAGES = (BadZipFile, EOFError, LookupError, OSError, RuntimeError, ValueError, struct.error, zlib.error)
"""Errors of ``zipfile`` about bytes in memory."""
_FAST = 1
"""Compression level: traces are mostly numbers, which no level compresses much further."""


def pack_shard(folder: Path) -> bytes:
    """Return the files of a shard; links and special files, which no session writes, are left out.

    Args:
        folder: of the shard; without it, the archive is empty.
    """
    buffer = io.BytesIO()
    # Epoch 0, of a file system without times, would be an error.
    with ZipFile(buffer, "w", ZIP_DEFLATED, compresslevel=_FAST, strict_timestamps=False) as archive:
        for path in _list_files(folder):
            archive.write(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def unpack_shard(content: bytes, folder: Path) -> bool:
    """Write the files of an archive into a folder, the record of the shard last.

    Until then the shard is incomplete, so a cut-off transfer never passes for a shard.

    Args:
        content: of ``pack_shard``, on any node.
        folder: an empty folder.

    Returns:
        True if the archive holds the record.

    Raises:
        RecordError: the archive is damaged, or a name in it is not that of a file below the folder.
    """
    holds_record = False
    for name, data in _read_files(content):
        target = folder.joinpath(*_split_name(name))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise RecordError(f"{name!r}: a file and a folder in the archive of a shard") from error
        holds_record = holds_record or name == SHARD_RECORD
    return holds_record


def _read_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file of an archive.

    Raises:
        RecordError: the archive is damaged.
    """
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            for name in sorted(archive.namelist(), key=SHARD_RECORD.__eq__):
                yield name, archive.read(name)
    except _DAMAGES as error:
        raise RecordError(f"the archive of the shard is damaged: {error}") from error


def _list_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(files)):
            if path.is_file() and not path.is_symlink():
                yield path


def _split_name(name: str) -> list[str]:
    parts = name.split("/")
    if len(parts) > _MAX_DEPTH or not all(map(is_path_component, parts)):
        raise RecordError(f"{name!r}: not the name of a file of a shard")
    return parts
