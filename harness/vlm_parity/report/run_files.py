"""Files of a run folder, found without following a symbolic link: it may lead out of the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vlm_parity.schema.run_layout import check_shard_name, is_path_component
from vlm_parity.util.errors import UsageError

SHARDS = "shards"
_LINK = "a symbolic link, which is not followed"


def list_shard_folders(run: Path, problems: list[str]) -> list[Path]:
    """List the folders of the shards of a run, by name; add a problem for each that cannot be one."""
    root = run / SHARDS
    if root.is_symlink():
        problems.append(f"{root}: {_LINK}")
        return []
    folders = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_symlink():
            problems.append(f"{path}: {_LINK}")
        elif path.is_dir() and (problem := _check_name(path.name)):
            problems.append(f"{path}: {problem}")
        elif path.is_dir():
            folders.append(path)
    return folders


def list_verdict_files(shard: Path, problems: list[str]) -> Iterator[Path]:
    """Yield the files of the verdicts of a shard, by name; add a problem for each that is no file."""
    root = shard / "verdicts"
    if root.is_symlink():
        problems.append(f"{root}: {_LINK}")
        return
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted((*files, *folders)):
            path = Path(folder, name)
            if path.is_symlink():
                problems.append(f"{path}: {_LINK}")
            elif name in files and name.endswith(".json"):
                yield path


def find_file(root: Path, *parts: str) -> Path | None:
    """Return the path of a file below a folder; None if there is none.

    Args:
        root: a folder of the run.
        parts: names from a record, so they may be anything.
    """
    path = root.joinpath(*parts) if all(map(is_path_component, parts)) else None
    if path is None or not path.is_file() or path.resolve() != root.resolve().joinpath(*parts):
        return None
    return path


def find_special_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that cannot be copied: pipes, sockets, devices."""
    for parent, _, files in os.walk(folder):
        for path in (Path(parent, name) for name in files):
            if not (path.is_symlink() or path.is_file()):
                yield path


def _check_name(name: str) -> str:
    try:
        check_shard_name(name)
    except UsageError as error:
        return str(error)
    return ""
