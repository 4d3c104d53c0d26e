"""The commit that a folder is at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vlm_parity.util.child_process import run_child

_TIMEOUT_S = 60.0


def read_commit(folder: Path) -> str:
    """Return the commit of a clone, with ``-dirty`` if tracked files were changed.

    Returns:
        40 hexadecimal digits and the suffix; empty if the folder is in no clone, or git is not installed.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = run_child(command, capture_output=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode("ascii", "replace").strip() if result.returncode == 0 else ""
