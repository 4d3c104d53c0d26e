"""A shard's folder as bytes, which travel from one node to another without a shared file system."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from vlm_parity.schema.run_layout import SHARD_RECORD, is_path_component
from vlm_parity.util.errors import RecordError

_MAX_DEPTH = 10
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
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            for name in sorted(names, key=SHARD_RECORD.__eq__):
                target = folder.joinpath(*_split_name(name))
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except (BadZipFile, EOFError, NotImplementedError, FileExistsError, IsADirectoryError) as error:
        raise RecordError(f"{folder}: the archive of the shard is damaged: {error}") from error
    return SHARD_RECORD in names


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
