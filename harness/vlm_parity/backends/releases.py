"""The supported releases of each backend: the adapter for each, and the requirements to install it with.

The data are in ``releases.toml``; the replays of historic bugs test it.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.specifiers import SpecifierSet
from pydantic import ValidationError

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.field_errors import describe_error, format_errors
from vlm_parity.schema.record import Record
from vlm_parity.schema.version_spec import Specifier
from vlm_parity.util.errors import ReleaseTableError, UnknownReleaseError
from vlm_parity.util.text import escape_invisible


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


class _ReleaseTable(Record):
    """The content of ``releases.toml``; ranges refer to its sets of requirements by name."""

    requirements: dict[str, tuple[str, ...]] = {}
    releases: tuple[ReleaseRange, ...]


@cache
def _load_tables() -> tuple[ReleaseRange, ...]:
    return read_releases(Path(__file__).with_name("releases.toml"))


def read_releases(path: Path) -> tuple[ReleaseRange, ...]:
    """Read the table of releases, with references to sets of requirements replaced by the sets.

    Raises:
        ReleaseTableError: the file cannot be read, is not TOML or does not fit; the message names the field.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        table = _ReleaseTable.model_validate(content)
        return tuple(_expand_requirements(release, table.requirements) for release in table.releases)
    except ValidationError as error:
        message = format_errors(
            error, lambda detail: f"{'.'.join(map(str, detail['loc']))}: {describe_error(detail)}"
        )
    except RecursionError:
        message = "too many lists and tables within each other"
    except (OSError, ValueError) as error:  # not UTF-8, not TOML, no such set
        message = escape_invisible(str(error))
    raise ReleaseTableError(f"{path}: {message}; install vlm-parity again")


def _expand_requirements(release: ReleaseRange, sets: Mapping[str, tuple[str, ...]]) -> ReleaseRange:
    """Return a range with its ``@name`` requirements replaced by the sets of these names."""
    expanded: list[str] = []
    for entry in release.requirements:
        if not entry.startswith("@"):
            expanded.append(entry)
        elif entry[1:] in sets:
            expanded += sets[entry[1:]]
        else:
            raise ValueError(f"{release.backend} {release.versions}: no set of requirements {entry}")
    return release.model_copy(update={"requirements": tuple(sorted(expanded))})


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
    return _find_version(distribution, tuple(sys.path))


@cache
def _find_version(distribution: str, _path: tuple[str, ...]) -> str | None:
    """Return a version, which depends on the path alone: a plan asks thousands of times."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
