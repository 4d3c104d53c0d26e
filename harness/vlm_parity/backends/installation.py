"""Engines that are installed in this environment, and the remedy if one is not."""

from __future__ import annotations

from collections.abc import Iterable
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

from vlm_parity.backends.registry import REFERENCE_BACKEND, list_backend_targets, load_backend_class
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import EngineNotInstalledError


def is_installed(backend: str) -> bool:
    """Return whether the engine of a backend is installed in this environment; it is not imported.

    Raises:
        UnknownBackendError: no backend has this name.
    """
    return find_spec(load_backend_class(backend).engine) is not None


def list_installed_backends() -> list[str]:
    """Return the backends under test, thus without the reference, whose engines are installed."""
    return [name for name in list_backend_targets() if name != REFERENCE_BACKEND and is_installed(name)]


def check_installed(backends: Iterable[str], clone: Path = REPOSITORY_ROOT) -> None:
    """Check that the engines of some backends are installed in this environment.

    Args:
        backends: names of backends.
        clone: folder of ``tox.ini``.

    Raises:
        EngineNotInstalledError: one is not; the message states how to install it.
        UnknownBackendError: no backend has a name.
    """
    for backend in backends:
        if not is_installed(backend):
            raise EngineNotInstalledError(
                f"{backend} is not installed in this environment: run "
                f"`pip install {load_backend_class(backend).engine}`{_format_tox_hint(backend, clone)}"
            )


def has_tox_environment(backend: str, clone: Path = REPOSITORY_ROOT) -> bool:
    """Return whether the clone's ``tox.ini`` has an environment for a backend."""
    tox = ConfigParser(interpolation=None)
    tox.read(clone / "tox.ini", encoding="utf-8")
    return tox.has_section(f"testenv:{backend}")


def _format_tox_hint(backend: str, clone: Path) -> str:
    if not has_tox_environment(backend, clone):
        return ""
    return f", or `tox -e {backend} --notest` in {clone} and use .tox/{backend}/bin/python there"
