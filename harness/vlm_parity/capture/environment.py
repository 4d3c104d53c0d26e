"""The environment that a trace is made in."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from vlm_parity.backends.base import Backend, Settings
from vlm_parity.schema.trace import Environment


def describe_environment(backend: type[Backend], settings: Settings) -> Environment:
    """Reads versions from the installed distributions; imports no engine."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=settings.device,
        dtype=settings.dtype,
        packages=get_versions(backend.packages),
    )


@cache  # a version is read from a file of several kB, and a front end answers in milliseconds
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def get_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {package: _version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}
