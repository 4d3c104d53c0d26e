"""The environment that a trace is made in."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from harness.backends.base import Backend, Settings
from harness.trace import Environment


def environment(backend: type[Backend], settings: Settings) -> Environment:
    """Reads versions from the installed distributions; imports no engine."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=settings.device,
        dtype=settings.dtype,
        packages=versions(backend.packages),
    )


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
