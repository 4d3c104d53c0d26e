"""Location of the cache: synthetic checkpoints, reference traces, environments.

All of it can be made again.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "VLM_PARITY_CACHE"
CACHE_PARTS = ("environments", "hypothesis", "legacy", "locks", "models", "reference")
"""Folders of the cache root that the harness makes, and may remove."""


def get_cache_root() -> Path:
    """Return the root of all caches: ``$VLM_PARITY_CACHE``, else the user's cache folder.

    It may not exist yet.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("vlm-parity"))
