"""The lock that an environment was installed under, and the packages that differ from it now.

``install.py`` copies the lock of a tox environment into it; another environment has none.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.run import Lock, LockDifference

LOCK_FILE = "parity-lock.txt"
"""The copy of the lock, in the folder of the environment."""
NOT_PINNED = frozenset({"pip", "wheel", "vlm-parity"})
"""As in install.py, which runs before vlm-parity is installed; the first two come with an environment."""


@cache  # a shard is written many times, and the installed packages do not change
def describe_lock() -> Lock | None:
    """Describe the lock of the current environment; None if it has none."""
    return read_lock(Path(sys.prefix) / LOCK_FILE, list_installed())


def read_lock(path: Path, installed: dict[str, str]) -> Lock | None:
    """Return a lock with its differences from the installed versions; None if there is no such file."""
    try:
        name, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return None
    pins = {pin: version for pin, equals, version in (line.partition("==") for line in lines) if equals}
    return Lock(
        name=name.removeprefix("# "),
        digest=compute_digest(sorted(pins.items()))[:12],
        pins=len(pins),
        differences=tuple(
            LockDifference(name=package, pinned=pins.get(package), installed=installed.get(package))
            for package in sorted({*pins, *installed})
            if pins.get(package) != installed.get(package)
        ),
    )


def list_installed() -> dict[str, str]:
    """Return the installed packages that a lock pins, by normalized name, with public versions."""
    versions = {
        canonicalize_name(found.metadata["Name"]): found.version.partition("+")[0]
        for found in distributions()
        if found.metadata["Name"]
    }
    return {name: version for name, version in versions.items() if name not in NOT_PINNED}
