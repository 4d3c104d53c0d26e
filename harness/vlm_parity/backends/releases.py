"""The releases of the backends: which adapter speaks to which, and what each is installed with.

One table, ``releases.toml``; the replays of historic bugs test it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from packaging.specifiers import SpecifierSet

from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Depth
from vlm_parity.schema.version_spec import Specifier
from vlm_parity.util.errors import UnknownReleaseError


class ReleaseRange(Record):
    """Releases of one backend that are spoken to and installed alike; ``releases.toml`` says how."""

    backend: str
    versions: Specifier
    distribution: str = ""
    target: str | None = None
    depth: Depth = Depth.TOKENS
    transformers: str | None = None
    needs: tuple[str, ...] = ()
    without_its_own: bool = False

    @property
    def name(self) -> str:
        """The distribution that pip installs."""
        return self.distribution or self.backend

    def take(self, release: str) -> bool:
        """Whether a version is one of them."""
        return SpecifierSet(self.versions).contains(release, prereleases=True)


@cache
def _load_tables() -> tuple[ReleaseRange, ...]:
    text = files("vlm_parity.backends").joinpath("releases.toml").read_text(encoding="utf-8")
    return tuple(ReleaseRange.model_validate(table) for table in tomllib.loads(text).get("releases", ()))


def load_releases(backend: str) -> Iterator[ReleaseRange]:
    """The tables of a backend, in order."""
    return (table for table in _load_tables() if table.backend == backend)


def find_releases(backend: str, release: str) -> ReleaseRange:
    """The table of one release.

    Raises:
        UnknownReleaseError: there is none.
    """
    for table in load_releases(backend):
        if table.take(release):
            return table
    known = "; ".join(table.versions for table in load_releases(backend)) or "none"
    raise UnknownReleaseError(f"{backend} {release}: harness/vlm_parity/backends/releases.toml takes {known}")


def find_installed_adapter(backend: str) -> str | None:
    """``module:Class`` for the release that is installed here, where it is not the newest adapter's."""
    for table in load_releases(backend):
        installed = _installed_version(table.name)
        if installed is not None and table.take(installed):
            return table.target
    return None


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
