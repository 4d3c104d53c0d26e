"""Names of the files in a run folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.errors import UsageError

SHARD_RECORD = "shard.json"
"""The record of a shard."""
SELFCHECK_RECORD = "selfcheck.json"
"""The record of a shard of the self-check, and of all of them together."""
_SHARD_MARK = ".vlm-parity-shard"
"""Marks a shard from the start, so that one that was cut off before its first record can be replaced."""
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_MAX_NAME_BYTES = 240
"""File systems allow 255, of which a suffix such as ``.json`` and the name of a draft need some."""
REFERENCE_FOLDER = "reference"
"""Replaces the name of the backend in the path of a reference trace: transformers may also be tested."""


def is_path_component(name: str) -> bool:
    """Return whether a name from a record can be a file's or a folder's: it leads nowhere else."""
    is_plain = name.isprintable() and not {"/", "\\"} & set(name) and name not in {"", ".", ".."}
    return is_plain and len(name.encode()) <= _MAX_NAME_BYTES


def check_shard_name(name: str) -> str:
    """Return the name of a shard, which is one component of a path.

    Raises:
        UsageError: it is not, so it could lead out of the run folder.
    """
    if _SHARD_NAME.fullmatch(name) is None:
        raise UsageError(
            f"shard {name!r}: a shard's name is letters, digits, '.', '_', '+' and '-', 200 at most, and "
            "begins with a letter or a digit"
        )
    return name


def remove_shard(folder: Path) -> None:
    """Remove the folder of an earlier shard, if there is one.

    Raises:
        UsageError: the folder is not empty and no shard.
    """
    if not folder.exists():
        return
    is_shard = any((folder / record).is_file() for record in (_SHARD_MARK, SHARD_RECORD, SELFCHECK_RECORD))
    if not is_shard and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder}: exists and is no shard, so it is not replaced; use another name or remove it"
        )
    shutil.rmtree(folder)


def create_shard(folder: Path) -> None:
    """Create an empty, marked folder for a shard in place of an earlier shard of its name.

    Raises:
        UsageError: the folder is not empty and no shard.
    """
    remove_shard(folder)
    folder.mkdir(parents=True)
    (folder / _SHARD_MARK).touch()


def get_verdict_path(shard_folder: Path, verdict: Verdict) -> Path:
    """Return the path of a verdict in the folder of a shard."""
    return shard_folder / "verdicts" / verdict.model / verdict.label / f"{verdict.case}.json"
