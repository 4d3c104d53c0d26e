"""The folder of a shard: marked as the harness's own, and held by the session that writes it.

The hold is a ``flock`` on the folder itself: it needs no file of its own, and ends with the process, however
that ends. The mark names the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vlm_parity.schema.run_layout import SELFCHECK_RECORD, SHARD_RECORD
from vlm_parity.util.errors import UnreadableFileError, UsageError
from vlm_parity.util.regular_file import read_regular_file

_MARK = ".vlm-parity-shard"
"""Marks a shard from the start, so that one that was cut off before its first record can be replaced."""

_MAX_MARK_BYTES = 32


class ShardHold:
    """Exclusive use of the folder of one shard, until it is released or the process ends."""

    def __init__(self, folder: Path) -> None:
        """Create, mark and hold a folder; what an earlier session left in it stays until ``clear``.

        Args:
            folder: the folder of a shard, an empty folder, or none.

        Raises:
            UsageError: the folder is not empty and no shard, or another session holds it.
        """
        self.folder = folder
        _check_replaceable(folder)
        self._is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor: int | None = _lock(folder, fcntl.LOCK_EX)
        if (folder / _MARK).is_dir():  # damaged, in a folder that its record shows to be a shard
            _remove(folder / _MARK)
        (folder / _MARK).write_text(f"{os.getpid()}\n", encoding="ascii")

    def __enter__(self) -> ShardHold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def clear(self) -> None:
        """Remove everything in the folder except the mark."""
        for entry in self.folder.iterdir():
            if entry.name != _MARK:
                _remove(entry)

    def release(self) -> None:
        """Let other sessions use the folder; a new one in which nothing was written is removed.

        An earlier shard that was cleared stays as an incomplete one: its run must not pass without it.
        """
        if self._descriptor is None:
            return
        if self._is_new and all(entry.name == _MARK for entry in self.folder.iterdir()):
            with suppress(OSError):  # a full or read-only disk; the folder holds nothing
                shutil.rmtree(self.folder)
        os.close(self._descriptor)
        self._descriptor = None


def create_shard(folder: Path) -> ShardHold:
    """Create an empty, marked folder for a shard in place of an earlier shard of its name, and hold it.

    Raises:
        UsageError: the folder is not empty and no shard, or another session holds it.
    """
    hold = ShardHold(folder)
    hold.clear()
    return hold


@contextmanager
def hold_finished(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep sessions from writing a shard during a block.

    Args:
        folder: of an existing shard.
        shared: let other blocks of this kind read the shard at the same time.

    Raises:
        UsageError: a session is writing it.
    """
    descriptor = _lock(folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Check that no session is writing a shard, which need not exist.

    Raises:
        UsageError: one is.
    """
    if folder.is_dir():
        with hold_finished(folder, shared=True):
            pass


def is_held(folder: Path) -> bool:
    """Return whether a session is writing a shard, which need not exist."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_holder(folder: Path) -> int | None:
    """Return the process that holds a shard; None if no process does, or the mark does not name it."""
    try:
        pid = int(read_regular_file(folder / _MARK, _MAX_MARK_BYTES))
        os.kill(pid, 0)
    except PermissionError:
        pass  # it runs as another user
    except (UnreadableFileError, ProcessLookupError, ValueError, OverflowError):
        return None
    return pid if is_held(folder) else None


def _check_replaceable(folder: Path) -> None:
    is_shard = any((folder / record).is_file() for record in (_MARK, SHARD_RECORD, SELFCHECK_RECORD))
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.is_symlink() or (folder.exists() and not is_shard and not is_empty):
        raise UsageError(
            f"{folder}: exists and is no shard, so it is not replaced; use another name or remove it"
        )


def _lock(folder: Path, kind: int) -> int:
    """Return a descriptor that locks a folder.

    Raises:
        UsageError: another process has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        if not os.path.samestat(folder.stat(), os.fstat(descriptor)):  # moved before it was locked
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError) as error:
        os.close(descriptor)
        holder = read_holder(folder) if folder.is_dir() else None
        process = f" (process {holder})" if holder is not None else ""
        raise UsageError(
            f"{folder}: another session{process} uses the shard {folder.name!r}; wait until it has ended, "
            "or use another name"
        ) from error
    return descriptor


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
