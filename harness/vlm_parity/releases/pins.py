"""Requirements of the environment that runs one release of a backend."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import requires

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.backends.releases import find_releases
from vlm_parity.schema.record import Record, compute_digest

SHARED = "torch"
"""Hundreds of megabytes that most environments have in common: each version is installed once."""
_IN_FOLDERS = re.compile(r"[^\w.]+")


class Pins(Record):
    """The requirements (PEP 508) of an environment, sorted."""

    name: str
    """Readable name of the environment: ``lmdeploy-0.7.3``."""
    shared: tuple[str, ...] = ()
    """Installed in an environment of their own that is shared."""
    bare: tuple[str, ...] = ()
    """Installed without their dependencies."""
    full: tuple[str, ...] = ()
    """Installed with their dependencies."""

    @property
    def folder(self) -> str:
        """The name of the folder; it depends on the pins, the Python version and the machine type."""
        key = compute_digest([self.model_dump(mode="json"), platform.python_version(), platform.machine()])
        return f"{_IN_FOLDERS.sub('-', self.name)}-{key[:12]}"

    @property
    def base(self) -> Pins | None:
        """The pins of the shared environment; None if nothing is shared."""
        return Pins(name="+".join(self.shared), full=self.shared) if self.shared else None


def build_pins(backend: str, release: str, versions: Mapping[str, str] | None = None) -> Pins:
    """Build the pins of one release.

    Args:
        backend: name of the backend.
        release: of the distribution that ``releases.toml`` names.
        versions: versions by distribution, such as transformers, that replace those of ``releases.toml``.

    Raises:
        UnknownReleaseError: no table supports the release.
        ValueError: the name of a distribution or its version is invalid.
    """
    table = find_releases(backend, release)
    listed = [text.replace("{version}", release) for text in table.requirements]
    if backend != REFERENCE_BACKEND and table.transformers is not None:
        listed.append(f"{REFERENCE_BACKEND}=={table.transformers}")
    with_extras = next((text for text in listed if _get_name(text) == _get_name(table.name)), table.name)
    overrides = {table.name: release, **(versions or {})}
    requirements = _override_versions(
        listed, {_copy_extras(name, with_extras): version for name, version in overrides.items()}
    )
    shared = tuple(text for text in requirements if _get_name(text) == SHARED)
    own = tuple(text for text in requirements if _get_name(text) != SHARED)
    bare, full = (own, ()) if table.without_own_dependencies else ((), own)
    return Pins(name=f"{backend}-{release}", shared=shared, bare=bare, full=full)


def list_harness_requirements() -> tuple[str, ...]:
    """Return the dependencies of the harness itself, which every environment of a release gets."""
    requirements = [Requirement(text) for text in requires("vlm-parity") or ()]
    return tuple(sorted(str(item) for item in requirements if "extra" not in str(item.marker or "")))


def _override_versions(requirements: Iterable[str], versions: Mapping[str, str]) -> list[str]:
    """Return the requirements with some versions replaced or added."""
    by_name = {_get_name(text): text for text in requirements}
    for name, version in versions.items():
        by_name[_get_name(name)] = f"{name}=={version}"
    return sorted(by_name.values())


def _copy_extras(name: str, requirement: str) -> str:
    """Return a distribution with the extras of a requirement, if it is for the same distribution."""
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement as error:
        raise ValueError(f"{requirement!r} is not a requirement: {error}") from error
    is_same = _get_name(name) == canonicalize_name(parsed.name)
    return f"{name}[{','.join(sorted(parsed.extras))}]" if is_same and parsed.extras else name


def _get_name(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement as error:
        raise ValueError(f"{requirement!r} is not a requirement: {error}") from error
