"""The supported releases of each backend: the adapter for each, and the requirements to install it with.

The data are in ``releases.toml``; the replays of historic bugs test it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from packaging.specifiers import SpecifierSet

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.record import Record
from vlm_parity.schema.version_spec import Specifier
from vlm_parity.util.errors import UnknownReleaseError


class ReleaseRange(Record):
    """Releases of one backend with the same adapter and requirements; see the top of ``releases.toml``."""

    backend: str
    versions: Specifier
    distribution: str = ""
    target: str | None = None
    depth: Depth = Depth.TOKENS
    transformers: str | None = None
    requirements: tuple[str, ...] = ()
    without_own_dependencies: bool = False

    @property
    def name(self) -> str:
        """The distribution that pip installs."""
        return self.distribution or self.backend

    def supports(self, release: str) -> bool:
        """Return whether a version is in the range; prereleases count as their release does."""
        return SpecifierSet(self.versions).contains(release, prereleases=True)


@cache
def _load_tables() -> tuple[ReleaseRange, ...]:
    text = files("vlm_parity.backends").joinpath("releases.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    sets = content.get("requirements", {})
    return tuple(
        ReleaseRange.model_validate(_expand_requirements(table, sets)) for table in content["releases"]
    )


def _expand_requirements(table: Mapping[str, Any], sets: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return a table with its ``@name`` requirements replaced by the sets of these names."""
    listed = table.get("requirements", [])
    expanded = [
        requirement
        for entry in listed
        for requirement in (sets[entry[1:]] if entry.startswith("@") else [entry])
    ]
    return {**table, "requirements": sorted(expanded)}


def load_releases(backend: str) -> Iterator[ReleaseRange]:
    """Yield the ranges of a backend in the order of ``releases.toml``."""
    return (table for table in _load_tables() if table.backend == backend)


def find_releases(backend: str, release: str) -> ReleaseRange:
    """Return the range that holds a release.

    Raises:
        UnknownReleaseError: no range holds it.
    """
    for table in load_releases(backend):
        if table.supports(release):
            return table
    known = "; ".join(table.versions for table in load_releases(backend)) or "none"
    raise UnknownReleaseError(
        f"{backend} {release}: no adapter for this release; "
        f"harness/vlm_parity/backends/releases.toml supports {known}"
    )


def find_installed_adapter(backend: str) -> str | None:
    """Return the ``module:Class`` for the installed release, or None if the newest adapter supports it."""
    for table in load_releases(backend):
        installed = _installed_version(table.name)
        if installed is not None and table.supports(installed):
            return table.target
    return None


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
