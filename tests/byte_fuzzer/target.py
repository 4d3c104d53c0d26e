"""A target: one file that the harness reads, in a folder in which everything else is intact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

Mutate = Callable[[bytes, int], bytes | None]
"""Changes the structure of a content; returns None if it has none. The number seeds the choice."""
_RENDERED = 16


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    file: str
    """Path of the file in the folder."""
    prepare: Callable[[Path], None]
    """Writes the intact folder."""
    read: Callable[[Path], object]
    """Reads the file, and whatever depends on it, as a command of the harness does.

    Raises:
        ParityError: the file is bad.
    """
    seeds: Callable[[], Iterable[bytes]] = tuple
    """Further intact contents, in addition to that of the folder."""
    mutate: Mutate | None = None


def is_sample(content: bytes) -> bool:
    """Return whether a content is one of the few for which slow pages are rendered as well."""
    return crc32(content) % _RENDERED == 0
