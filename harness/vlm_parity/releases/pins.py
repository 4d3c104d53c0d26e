"""What an environment holds, so that one release of a backend can be asked in it."""

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
"""Hundreds of megabytes that most environments hold alike: each version is installed once for all."""
_IN_FOLDERS = re.compile(r"[^\w.]+")


class Pins(Record):
    """What an environment is made of; requirements are PEP 508's, sorted."""

    name: str
    """Of the environment, for people: ``lmdeploy-0.7.3``."""
    shared: tuple[str, ...] = ()
    """Lies in an environment of its own, which others see."""
    bare: tuple[str, ...] = ()
    """Installed without what they ask for themselves."""
    full: tuple[str, ...] = ()
    """Installed with what they ask for."""

    @property
    def folder(self) -> str:
        """The name of its folder: another one for other pins, another Python, another machine."""
        key = compute_digest([self.model_dump(mode="json"), platform.python_version(), platform.machine()])
        return f"{_IN_FOLDERS.sub('-', self.name)}-{key[:12]}"

    @property
    def base(self) -> Pins | None:
        """The environment of what is shared; None where nothing is."""
        return Pins(name="+".join(self.shared), full=self.shared) if self.shared else None


def build_pins(backend: str, release: str, chosen: Mapping[str, str] | None = None) -> Pins:
    """What one release is asked in.

    Args:
        backend: its name.
        release: of the distribution that ``releases.toml`` names.
        chosen: versions by distribution, over those of ``releases.toml``: of transformers, say.

    Raises:
        UnknownReleaseError: no table takes the release.
        ValueError: a distribution or its version is none.
    """
    table = find_releases(backend, release)
    asked = [need.replace("{version}", release) for need in table.requirements]
    if backend != REFERENCE_BACKEND and table.transformers is not None:
        asked.append(f"{REFERENCE_BACKEND}=={table.transformers}")
    extras = next(
        (each for each in asked if _requirement_name(each) == _requirement_name(table.name)), table.name
    )
    versions = {table.name: release, **(chosen or {})}
    needs = _override_versions(
        asked, {_copy_extras(name, extras): version for name, version in versions.items()}
    )
    shared = tuple(need for need in needs if _requirement_name(need) == SHARED)
    own = tuple(need for need in needs if _requirement_name(need) != SHARED)
    bare, full = (own, ()) if table.without_own_dependencies else ((), own)
    return Pins(name=f"{backend}-{release}", shared=shared, bare=bare, full=full)


def list_harness_requirements() -> tuple[str, ...]:
    """What the harness itself imports, which goes into every environment that is asked."""
    needs = [Requirement(text) for text in requires("vlm-parity") or ()]
    return tuple(sorted(str(need) for need in needs if "extra" not in str(need.marker or "")))


def _override_versions(needs: Iterable[str], versions: Mapping[str, str]) -> list[str]:
    """The requirements with some versions chosen otherwise, or added."""
    found = {_requirement_name(need): need for need in needs}
    for name, version in versions.items():
        found[_requirement_name(name)] = f"{name}=={version}"
    return sorted(found.values())


def _copy_extras(name: str, like: str) -> str:
    """A distribution with the extras that it is asked for with already."""
    try:
        known = Requirement(like)
    except InvalidRequirement as problem:
        raise ValueError(f"{like!r} is no requirement: {problem}") from problem
    same = _requirement_name(name) == canonicalize_name(known.name)
    return f"{name}[{','.join(sorted(known.extras))}]" if same and known.extras else name


def _requirement_name(need: str) -> str:
    try:
        return canonicalize_name(Requirement(need).name)
    except InvalidRequirement as problem:
        raise ValueError(f"{need!r} is no requirement: {problem}") from problem
