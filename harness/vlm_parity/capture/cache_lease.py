"""Leases on entries of the cache: an entry in use is not deleted.

A lease is a shared ``flock`` on the folder itself, so it needs no file of its own and ends with the process,
however that ends. Python opens files as not inheritable, so no child holds it longer.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LeaseHolder:
    """The leases of one session, which end together."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def acquire(self, folder: Path) -> bool:
        """Lease a folder, after waiting for a deletion in progress; return False if there is no such folder.

        Other processes may lease it, too.
        """
        descriptor = self._descriptors.get(folder)
        if descriptor is not None and _is_open(folder, descriptor):
            return True
        self.release(folder)
        descriptor = _open(folder)
        if descriptor is None:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._descriptors[folder] = descriptor
        if _is_open(folder, descriptor):
            return True
        self.release(folder)  # it was deleted while this process waited
        return False

    def holds(self, folder: Path) -> bool:
        """Return whether the leased folder is still in its place."""
        return folder in self._descriptors and _is_open(folder, self._descriptors[folder])

    def release(self, folder: Path) -> None:
        """End the lease of one folder, if it has one."""
        descriptor = self._descriptors.pop(folder, None)
        if descriptor is not None:
            os.close(descriptor)

    def release_all(self) -> None:
        """End all leases."""
        for folder in list(self._descriptors):
            self.release(folder)


@contextmanager
def hold_unused(folder: Path) -> Iterator[bool]:
    """Yield True and keep others from leasing a folder during the block; False if it is in use or gone."""
    descriptor = _open(folder)
    if descriptor is None:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = _is_open(folder, descriptor)
    except BlockingIOError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int | None:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_open(folder: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the open folder."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
