"""Names of the files in a run folder."""

from __future__ import annotations

import re
from pathlib import Path

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.errors import UsageError

SHARD_RECORD = "shard.json"
"""The record of a shard."""
SELFCHECK_RECORD = "selfcheck.json"
"""The record of a shard of the self-check, and of all of them together."""
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


def get_conditioned_folder(label: str, condition: Condition) -> str:
    """Return what replaces the label of an engine in the path of a trace on given values."""
    return f"{label}-given-{condition}"


def get_recording_folder(label: str, condition: Condition | None) -> str:
    """Return what replaces the label of an engine in the path of a trace whose modules are recorded."""
    return f"{label}-modules" if condition is None else f"{label}-modules-given-{condition}"


def get_repetition_folder(label: str, repetition: int) -> str:
    """Return what replaces the label of an engine in the path of a trace of a repeated pass."""
    return f"{label}-pass-{repetition}"


def get_verdict_path(shard_folder: Path, verdict: Verdict) -> Path:
    """Return the path of a verdict in the folder of a shard."""
    return shard_folder / "verdicts" / verdict.model / verdict.label / f"{verdict.case}.json"
