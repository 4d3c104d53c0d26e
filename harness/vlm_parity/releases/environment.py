"""Python environments of releases, built from pins once and kept in the cache.

Environments with the same PyTorch share it: it is installed once, and a ``.pth`` file adds its folder to the
others. uv would link it from its cache without this, but uv reads none of pip's configuration (``pip.conf``
and ``PIP_*`` with index, certificates and ``find-links``) and would need its own, so pip installs everything.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vlm_parity.releases.pins import Pins, list_harness_requirements
from vlm_parity.schema.record import Record, read_record, write_record
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.checkout import SOURCE_ROOT
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import EnvironmentBuildError, RecordError
from vlm_parity.util.file_lock import acquire_lock

ENVIRONMENT_FILE = "environment.json"
_BASE_FILE = "shared.pth"
_TAIL_LINES = 25

LogLine = Callable[[str], None]
"""Prints a line of progress."""


class BuiltEnvironment(Record):
    """Record of a complete environment; it is written last."""

    pins: Pins
    python: str
    packages: dict[str, str]
    """Versions of all packages, shared ones too."""
    seconds: float
    """Duration of the build."""
    bytes: int
    """Size on disk, without shared packages."""


def get_environments_root() -> Path:
    """Return the folder of all environments; it may not exist yet."""
    return get_cache_root() / "environments"


def get_python(pins: Pins) -> Path:
    """Return the Python of an environment, which may not be built yet."""
    return get_environments_root() / pins.folder / "bin" / "python"


def is_built(pins: Pins) -> bool:
    """Return whether the environment of these pins exists and is complete."""
    return (get_environments_root() / pins.folder / ENVIRONMENT_FILE).exists()


def build_environment(pins: Pins, log: LogLine) -> tuple[BuiltEnvironment, bool]:
    """Return the environment of these pins; build it if it does not exist.

    Args:
        pins: the requirements.
        log: called with a line before anything that takes long.

    Returns:
        The record of the environment, and True if it was built by this call.

    Raises:
        EnvironmentBuildError: the installer failed; the incomplete environment is deleted.
    """
    folder = get_environments_root() / pins.folder
    base = build_environment(pins.base, log)[0] if pins.base is not None else None
    lock = f"environment-{folder.name}"
    with acquire_lock(lock, lambda: log(f"waiting for another process that builds {pins.name}")):
        try:
            return _read_built(pins.folder), False
        except RecordError:
            pass  # it does not exist, or its build was interrupted
        log(f"building the environment {pins.name}")
        return _build(pins, folder, base), True


def measure_disk_usage(folders: Iterable[str]) -> int:
    """Return the size of some environments on disk in bytes; shared packages count once.

    Raises:
        RecordError: an environment does not exist, or is incomplete.
    """
    environments = {folder: _read_built(folder) for folder in folders}
    for built in tuple(environments.values()):
        if (base := built.pins.base) is not None:
            environments[base.folder] = _read_built(base.folder)
    return sum(built.bytes for built in environments.values())


def build_child_environment() -> dict[str, str]:
    """Return the variables of a Python that runs this harness, which is not installed in the environments."""
    return {
        **os.environ,
        "PYTHONPATH": str(SOURCE_ROOT),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def _read_built(folder: str) -> BuiltEnvironment:
    return read_record(get_environments_root() / folder / ENVIRONMENT_FILE, BuiltEnvironment)


def _build(pins: Pins, folder: Path, base: BuiltEnvironment | None) -> BuiltEnvironment:
    start = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    log_file = folder.with_name(f"{folder.name}.log")
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log_file.unlink(missing_ok=True)
    python = folder / "bin" / "python"
    try:
        _run([sys.executable, "-m", "venv", str(folder)], log_file)
        if base is not None:
            _link_site_packages(folder, get_environments_root() / base.pins.folder)
        if pins.bare:
            _run([*_pip(python), "--no-deps", *pins.bare], log_file)
        if pins.full:
            _run([*_pip(python), *pins.full], log_file)
        if base is not None:  # the environment of a release, not a shared one
            constraints = folder / "constraints.txt"
            packages = _list_packages(python).items()
            constraints.write_text("\n".join(f"{name}=={version}" for name, version in packages))
            _run([*_pip(python), "--constraint", str(constraints), *list_harness_requirements()], log_file)
            _run([str(python), "-m", "vlm_parity", "fix-torchvision"], log_file)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise EnvironmentBuildError(_format_failure(pins, error, log_file)) from error
    built = BuiltEnvironment(
        pins=pins,
        python=platform.python_version(),
        packages=_list_packages(python),
        seconds=time.monotonic() - start,
        bytes=_measure_size(folder),
    )
    write_record(folder / ENVIRONMENT_FILE, built)
    return built


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(command: Sequence[str], log_file: Path) -> None:
    with log_file.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        run_child(command, check=True, stdout=output, stderr=subprocess.STDOUT, env=build_child_environment())


def _link_site_packages(folder: Path, base: Path) -> None:
    """Make the packages of one environment importable in another, after its own packages."""
    (own,) = folder.glob("lib/python*/site-packages")
    (shared,) = base.glob("lib/python*/site-packages")
    (own / _BASE_FILE).write_text(f"{shared}\n", encoding="utf-8")


def _list_packages(python: Path) -> dict[str, str]:
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = run_child(command, check=True, capture_output=True, text=True)
    return {package["name"]: package["version"] for package in json.loads(done.stdout)}


def _format_failure(pins: Pins, error: subprocess.CalledProcessError, log_file: Path) -> str:
    tail = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return (
        f"the environment {pins.name} could not be built (exit status {error.returncode}); the last lines "
        "of the installer:\n" + "\n".join(tail)
    )


def _measure_size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
