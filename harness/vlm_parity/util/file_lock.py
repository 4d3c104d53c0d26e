"""Locks between processes, as files in the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from vlm_parity.util.cache_dir import get_cache_root


@contextmanager
def acquire_lock(name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of this name until the block ends, or the process does.

    Args:
        name: any name that a file can have.
        on_wait: called once before waiting, if another process holds the lock.
    """
    path = get_cache_root() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
