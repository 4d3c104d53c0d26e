"""Damages to files at rest, and the kinds of files that there are."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

_VARIABLE = re.compile(
    r"[0-9a-f]{32}|(?<=model/tiny_engine/)\w+|(?<=model/reference/)\w+|(?<=media/)\w+|(?<=conversations/)\w+"
)
"""The parts of a path in which files of one kind differ: the key of a cache entry, the name of a case."""
_FLIPS = 4
"""Number of bits that are flipped, one at a time."""


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def _empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _replace_by_random(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(random.Random(size).randbytes(size))  # noqa: S311


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _build_flip(number: int) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            generator = random.Random(number)  # noqa: S311
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)

    return flip


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": _truncate,
    "emptied": _empty,
    "random": _replace_by_random,
    "zeros": _replace_by_zeros,
    "a folder": _replace_by_folder,
    "deleted": Path.unlink,
    "a dangling link": _replace_by_link,
    **{f"bit flipped, {number}": _build_flip(number) for number in range(_FLIPS)},
}
FOLDER_DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "a file": _replace_by_file,
    "emptied": _empty_folder,
}


def group_by_kind(paths: Iterable[str]) -> dict[str, list[str]]:
    """Group paths by their kind: the path with ``*`` in place of keys and names."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(paths):
        kinds.setdefault(_VARIABLE.sub("*", path), []).append(path)
    return kinds
