"""Weights of a checkpoint: every shard must be there and complete.

Engines differ in what they do about a missing shard: some fail, some initialize the rest at random.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vlm_parity.util.errors import UnknownModelError, UnreadableFileError
from vlm_parity.util.regular_file import read_regular_file

_FORMATS = (
    ("*.safetensors", "model.safetensors", "model.safetensors.index.json"),
    ("*.bin", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Files, the one that holds everything, and the index of shards; transformers prefers the first format."""
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
MAX_JSON_BYTES = 64 * 2**20
"""Largest configuration or index that is read. The indexes of the largest models have some megabytes."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def check_weight_files(folder: Path, source: str) -> None:
    """Check that no shard is missing and that each safetensors file is as long as its header states.

    Args:
        folder: the checkpoint.
        source: its name for the user.

    Raises:
        UnknownModelError: weights are missing or incomplete; the message names all such files.
    """
    problems = list(_find_problems(folder))
    if problems:
        raise UnknownModelError("\n".join(f"{source}: {problem}" for problem in problems))


def _find_problems(folder: Path) -> Iterator[str]:
    for pattern, whole, index in _FORMATS:
        files = {file.name for file in folder.glob(pattern)}
        if not files and not (folder / index).exists():
            continue
        if whole not in files:
            listed = _read_index(folder / index) if (folder / index).exists() else frozenset()
            yield from (f"no {name} in it, which {index} lists" for name in sorted(listed - files))
            yield from _find_missing_shards(files | listed)
        for name in sorted(files):
            yield from _find_damage(folder / name)
        return


def _read_index(path: Path) -> frozenset[str]:
    """Return the names of the shards in an index.

    Raises:
        UnknownModelError: the index cannot be read.
    """
    try:
        content: Any = json.loads(read_regular_file(path, MAX_JSON_BYTES))
        return frozenset(map(str, content["weight_map"].values()))
    except (UnreadableFileError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnknownModelError(f"{path}: no index of shards with a weight_map: {error!r}") from error


def _find_missing_shards(names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each group of shards with gaps in its numbers."""
    groups: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for match in filter(None, map(_SHARD.fullmatch, names)):
        groups[match["stem"], int(match["count"]), match["suffix"]].add(int(match["number"]))
    for (stem, count, suffix), numbers in groups.items():
        missing = count - len(numbers & set(range(1, count + 1)))
        if missing:
            yield f"{missing} of the {count} shards {stem}-*-of-{count:05}{suffix} are missing in it"


def _find_damage(file: Path) -> Iterator[str]:
    if not file.is_file():
        yield f"{file.name} is no file, or a link to one that is gone: remove it and download it again"
        return
    if file.stat().st_size == 0:
        yield f"{file.name} is empty: copy or download it again"
        return
    with file.open("rb") as content:
        is_pointer = content.read(len(_LFS_POINTER)) == _LFS_POINTER
    if is_pointer:
        yield f"{file.name} is a pointer of Git LFS, not the file: run `git lfs pull` in its folder"
    elif file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="numpy"):
                pass
        except SafetensorError as error:
            yield f"{file.name} is cut off or no safetensors file: {error}"
