"""Published releases of a distribution, from the package index that pip is configured with.

``pip index versions`` is used because it applies the user's pip configuration: index, certificates,
credentials, ``find-links``. An older pip, such as the one that ``venv`` of Python 3.11 installs (23.2), has
no ``--json`` and prints the same list as text.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from vlm_parity.backends.releases import load_releases
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import PackageIndexError, UsageError

_TEXT_PREFIX = "Available versions: "
_SHOWN_RELEASES = 5
"""Number of published releases in a message."""


def get_distribution(backend: str) -> str:
    """Return the distribution that holds the releases of a backend.

    Raises:
        PackageIndexError: no release of the backend is known.
    """
    for table in load_releases(backend):
        return table.name
    raise PackageIndexError(f"harness/vlm_parity/backends/releases.toml has no table for {backend}")


def list_published_releases(distribution: str, *, prereleases: bool = False) -> list[str]:
    """Return the releases of a distribution that can be installed here, the oldest first.

    Args:
        distribution: its name.
        prereleases: whether prereleases are listed, too.

    Raises:
        PackageIndexError: pip cannot list them.
    """
    options = ["--pre"] if prereleases else []
    done = _run_pip_index(distribution, *options, "--json")
    if "no such option: --json" in done.stderr:
        done = _run_pip_index(distribution, *options)
    if done.returncode:
        raise PackageIndexError(f"pip cannot list releases of {distribution}: {done.stderr.strip()}")
    return sort_releases(_parse_releases(done.stdout))


def is_unknown_distribution(error: PackageIndexError) -> bool:
    """Return whether pip has reached the index, and it has no such distribution."""
    return "No matching distribution" in str(error) and "Retrying" not in str(error)


def _run_pip_index(distribution: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "index", "versions", distribution, *options]
    return run_child(command, capture_output=True, text=True)


def _parse_releases(output: str) -> list[str]:
    for line in output.splitlines():
        if line.startswith("{"):
            releases: list[str] = json.loads(line)["versions"]
            return releases
        if line.startswith(_TEXT_PREFIX):
            return line.removeprefix(_TEXT_PREFIX).split(", ")
    raise PackageIndexError(f"unexpected output of `pip index versions`: {output.strip()}")


def check_published(option: str, distribution: str, releases: Iterable[str]) -> None:
    """Check that releases are published, before anything is built for them.

    Args:
        option: the option that names them, for the message.
        distribution: the distribution that they are releases of.
        releases: their versions; nothing is looked up if there is none.

    Raises:
        PackageIndexError: pip cannot list the releases.
        UsageError: one of them is not published, or not for this platform and this version of Python.
    """
    versions = {release: Version(release) for release in releases}
    if not versions:
        return
    prereleases = any(version.is_prerelease for version in versions.values())
    published = list_published_releases(distribution, prereleases=prereleases)
    known = set(map(Version, published))
    for release, version in versions.items():
        if version not in known:
            raise UsageError(
                f"{option} {release}: the package index has no such release of {distribution} for this "
                f"platform and version of Python; the newest are: {', '.join(published[-_SHOWN_RELEASES:])}"
            )


def sort_releases(releases: list[str]) -> list[str]:
    """Return versions without duplicates, the oldest first.

    Raises:
        PackageIndexError: one of them is not a version.
    """
    try:
        return sorted(dict.fromkeys(releases), key=Version)
    except InvalidVersion as error:
        raise PackageIndexError(str(error)) from error


def select_releases_between(releases: list[str], first: str, last: str) -> list[str]:
    """Return the releases from ``first`` to ``last``, with both, in this direction."""
    low, high = sorted((Version(first), Version(last)))
    selected = [release for release in releases if low <= Version(release) <= high]
    return selected if Version(first) <= Version(last) else selected[::-1]
