"""The environment in which a trace is captured."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from vlm_parity.backends.base import Backend, Settings
from vlm_parity.schema.trace import Environment


def describe_environment(backend: type[Backend], settings: Settings) -> Environment:
    """Describe the current environment by its installed distributions, without importing an engine."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=settings.device,
        dtype=settings.dtype,
        packages=get_versions(backend.packages),
    )


@cache  # reading a version parses a file of several kB, and a front end responds in milliseconds
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def get_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    versions = {package: _version(package) for package in packages}
    return {package: number for package, number in versions.items() if number is not None}
