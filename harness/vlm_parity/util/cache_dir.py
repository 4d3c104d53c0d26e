"""Location of the cache: synthetic checkpoints, reference traces, environments.

All of it can be made again.
"""

from __future__ import annotations

from pathlib import Path

import platformdirs

from vlm_parity.util.environment_variables import CACHE_VARIABLE, read_path
from vlm_parity.util.writable_folder import ensure_writable

CACHE_PARTS = ("environments", "hypothesis", "legacy", "locks", "models", "reference")
"""Folders of the cache root that the harness makes, and may remove."""


def get_cache_root() -> Path:
    """Return the root of all caches: ``$VLM_PARITY_CACHE``, else the user's cache folder.

    It may not exist yet.
    """
    return read_path(CACHE_VARIABLE) or Path(platformdirs.user_cache_dir("vlm-parity"))


def ensure_writable_cache() -> None:
    """Create the parts of the cache that every session writes into, and check that it can.

    Raises:
        UsageError: it cannot; the message names the folder, the reason and the remedy.
    """
    root, remedy = get_cache_root(), f"set {CACHE_VARIABLE} to a folder that can be written"
    for folder in (root, *(root / part for part in ("locks", "models", "reference"))):
        ensure_writable(folder, "the cache", remedy)
