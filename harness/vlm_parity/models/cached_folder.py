"""Folders of the cache that are built once: complete and intact, or built again.

A build happens in a draft beside the folders and ends with a manifest and a rename, so a folder under its
final name was complete once. Its manifest is checked before each use: files in a cache are deleted by hand
and by cleaners, and disks fail.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vlm_parity.schema.manifest import Manifest, check_manifest, write_manifest
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.errors import CheckpointBuildError, DamagedFolderError
from vlm_parity.util.file_lock import acquire_lock, try_lock
from vlm_parity.util.text import escape_terminal

ABANDONED_AFTER_S = 24 * 3600
"""Seconds. No build takes a day."""
_DRAFT_NAME = re.compile(r"\.(?P<entry>.+)-[a-z0-9_]{8}")
"""Name of a draft: that of its entry and the random end of ``tempfile.mkdtemp``."""

ReportLine = Callable[[str], None]
"""Prints a line for the user."""


def print_line(line: str) -> None:
    """Print a line to the standard error, for callers without progress output."""
    sys.stderr.write(f"{escape_terminal(line)}\n")


def provide_folder(
    part: str, entry: Path, build: Callable[[Path], None], report: ReportLine
) -> tuple[Path, Manifest]:
    """Return a folder of the cache, after building it if it is missing or damaged.

    Of several processes that need it, one builds and the others wait.

    Args:
        part: the folder of the cache root that holds the entry.
        entry: path of the folder within the part.
        build: called with an empty folder to write the files into.
        report: called with a line about damage, and before waiting for another process.

    Raises:
        CheckpointBuildError: the cache cannot be written.
    """
    root = get_cache_root() / part
    folder = root / entry
    try:
        _sweep_drafts(part)
        try:
            return folder, check_manifest(folder)
        except DamagedFolderError:
            pass  # or missing; decided again below, while no other process builds it
        on_wait = f"waiting for another process that builds {entry}"
        with acquire_lock(_get_lock(part, _get_name(entry)), lambda: report(on_wait)):
            try:
                return folder, check_manifest(folder)
            except DamagedFolderError as error:
                if folder.exists() or folder.is_symlink():
                    reason = str(error).partition("\n")[0]
                    report(f"damaged, so it is thrown away and built again: {reason}")
                    _discard(root, entry)
            return folder, _build(root, entry, build)
    except OSError as error:
        raise CheckpointBuildError(
            f"{folder}: cannot be built: {error}; make room and check its permissions, or set "
            "VLM_PARITY_CACHE to another folder"
        ) from error


def _build(root: Path, entry: Path, build: Callable[[Path], None]) -> Manifest:
    draft = _create_draft(root, entry)
    try:
        build(draft)
        draft.chmod(0o755)
        manifest = write_manifest(draft)
        (root / entry).parent.mkdir(parents=True, exist_ok=True)
        draft.rename(root / entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _discard(root: Path, entry: Path) -> None:
    """Remove an entry in one step, whatever it is: no other process sees a part of it."""
    draft = _create_draft(root, entry)
    (root / entry).rename(draft / "damaged")
    shutil.rmtree(draft, ignore_errors=True)


def _create_draft(root: Path, entry: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=root, prefix=f".{_get_name(entry)}-"))


def _sweep_drafts(part: str) -> None:
    """Remove the drafts of builds that were killed, if they are old and no process builds their entry."""
    root = get_cache_root() / part
    if not root.is_dir():
        return
    for draft in root.iterdir():
        match = _DRAFT_NAME.fullmatch(draft.name)
        if match is None or not _is_abandoned(draft):
            continue
        with try_lock(_get_lock(part, match["entry"])) as is_free:
            if is_free:
                shutil.rmtree(draft, ignore_errors=True)


def _is_abandoned(draft: Path) -> bool:
    """Return whether a draft is a folder in which nothing has been created for a day."""
    try:
        return draft.is_dir() and time.time() - draft.lstat().st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:  # finished in the meantime
        return False


def _get_lock(part: str, name: str) -> str:
    return f"{part}-{name}"


def _get_name(entry: Path) -> str:
    """Return an entry's path as one component."""
    return "-".join(entry.parts)
