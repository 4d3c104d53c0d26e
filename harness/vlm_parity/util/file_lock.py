"""Locks between processes, as files in the cache folder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from vlm_parity.util.cache_dir import get_cache_root


@contextmanager
def acquire_lock(name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of this name until the block ends, or the process does.

    Args:
        name: any name that a file can have.
        on_wait: called once before waiting, if another process holds the lock.
    """
    lock = _open_lock(name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def try_lock(name: str) -> Iterator[bool]:
    """Hold the lock of this name if it is free; yield False if another process holds it."""
    lock = _open_lock(name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def share_lock(name: str) -> Iterator[None]:
    """Hold the lock of this name together with others that share it, until the block ends.

    Waits for the holder of ``acquire_lock``, which waits for those that share it.
    """
    with _get_path(name).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _open_lock(name: str) -> BaseFileLock:
    return FileLock(_get_path(name))


def _get_path(name: str) -> Path:
    path = get_cache_root() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
