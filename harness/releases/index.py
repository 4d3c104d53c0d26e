"""Which releases of a distribution there are, as the package index that pip is set up with says."""

from __future__ import annotations

import re
import subprocess
import sys

from packaging.version import InvalidVersion, Version

from harness.backends.releases import releases_of

_LISTED = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


class NoReleases(Exception):
    """The releases of a distribution cannot be listed; the message says why."""


def distribution_of(backend: str) -> str:
    """The distribution whose releases are a backend's.

    Raises:
        NoReleases: no release of the backend is known of.
    """
    for table in releases_of(backend):
        return table.name
    raise NoReleases(f"harness/backends/releases.toml has no table for {backend}")


def published(distribution: str) -> list[str]:
    """The final releases of a distribution, the oldest first.

    Raises:
        NoReleases: pip cannot list them.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", distribution]
    found = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    listed = _LISTED.search(found.stdout)
    if found.returncode or listed is None:
        raise NoReleases(f"pip lists no releases of {distribution}: {(found.stderr or found.stdout).strip()}")
    return in_order(listed[1].split(", "))


def in_order(releases: list[str]) -> list[str]:
    """Versions, the oldest first, each once.

    Raises:
        NoReleases: one of them is no version.
    """
    try:
        return sorted(dict.fromkeys(releases), key=Version)
    except InvalidVersion as problem:
        raise NoReleases(str(problem)) from problem


def between(releases: list[str], first: str, last: str) -> list[str]:
    """Those from ``first`` to ``last``, both with them, in that direction."""
    low, high = sorted((Version(first), Version(last)))
    found = [each for each in releases if low <= Version(each) <= high]
    return found if Version(first) <= Version(last) else found[::-1]
