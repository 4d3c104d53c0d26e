"""Which releases of a distribution there are, as the package index that pip is set up with says."""

from __future__ import annotations

import re
import subprocess
import sys

from packaging.version import InvalidVersion, Version

from vlm_parity.backends.releases import load_releases
from vlm_parity.util.errors import PackageIndexError

_INDEX_FORMAT = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


def get_distribution(backend: str) -> str:
    """The distribution whose releases are a backend's.

    Raises:
        PackageIndexError: no release of the backend is known of.
    """
    for table in load_releases(backend):
        return table.name
    raise PackageIndexError(f"harness/vlm_parity/backends/releases.toml has no table for {backend}")


def list_published_releases(distribution: str) -> list[str]:
    """The final releases of a distribution, the oldest first.

    Raises:
        PackageIndexError: pip cannot list them.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", distribution]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    listed = _INDEX_FORMAT.search(found.stdout)
    if found.returncode or listed is None:
        raise PackageIndexError(
            f"pip lists no releases of {distribution}: {(found.stderr or found.stdout).strip()}"
        )
    return sort_releases(listed[1].split(", "))


def sort_releases(releases: list[str]) -> list[str]:
    """Versions, the oldest first, each once.

    Raises:
        PackageIndexError: one of them is no version.
    """
    try:
        return sorted(dict.fromkeys(releases), key=Version)
    except InvalidVersion as problem:
        raise PackageIndexError(str(problem)) from problem


def select_releases_between(releases: list[str], first: str, last: str) -> list[str]:
    """Those from ``first`` to ``last``, both with them, in that direction."""
    low, high = sorted((Version(first), Version(last)))
    found = [each for each in releases if low <= Version(each) <= high]
    return found if Version(first) <= Version(last) else found[::-1]
