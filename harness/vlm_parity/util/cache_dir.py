"""Where the harness keeps what it can make again: built models, reference traces."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "VLM_PARITY_CACHE"


def get_cache_root() -> Path:
    """The root of all caches: ``$VLM_PARITY_CACHE``, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("vlm-parity"))
