"""Newer releases of the packages of an environment, from the package index that pip is configured with."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from vlm_parity.releases.package_index import list_published_releases
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import PackageIndexError

_PROBE = "pydantic"
"""A dependency of vlm-parity: a package index without it cannot be read."""


@dataclass(frozen=True)
class NewerRelease:
    """A package of which the package index has a newer release."""

    name: str
    installed: str
    newest: str


def list_newer_releases() -> list[NewerRelease]:
    """Return the packages of this environment that have a newer release, sorted by name.

    Raises:
        PackageIndexError: pip fails, or could not reach the index, so that releases are missing.
    """
    list_published_releases(_PROBE)  # fails at once; `pip list` skips what it cannot read, package by package
    command = [sys.executable, "-m", "pip", "list", "--outdated", "--format=json"]
    done = run_child(command, capture_output=True, text=True)
    if done.returncode or "Retrying" in done.stderr or "Could not fetch URL" in done.stderr:
        raise PackageIndexError(f"pip cannot list newer releases: {done.stderr.strip()}")
    try:
        entries = json.loads(done.stdout)
        newer = [NewerRelease(each["name"], each["version"], each["latest_version"]) for each in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise PackageIndexError(
            f"unexpected output of `pip list --outdated`: {done.stdout.strip()}"
        ) from error
    return sorted(newer, key=lambda each: each.name.lower())
