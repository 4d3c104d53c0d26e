"""Builds environments from pins, each once, and keeps them in the cache."""

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
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import EnvironmentBuildError, RecordError
from vlm_parity.util.file_lock import acquire_lock

ENVIRONMENT_FILE = "environment.json"
_BASE_FILE = "shared.pth"
_TAIL_LINES = 25

LogLine = Callable[[str], None]


class BuiltEnvironment(Record):
    """An environment that is complete: it is written last."""

    pins: Pins
    python: str
    packages: dict[str, str]
    """All that is installed, what is shared too."""
    seconds: float
    """What the build took."""
    bytes: int
    """On disk, without what is shared."""


def get_environments_root() -> Path:
    """Where the environments lie; it may not exist yet."""
    return get_cache_root() / "environments"


def get_python(pins: Pins) -> Path:
    """The Python of an environment, which may not be built yet."""
    return get_environments_root() / pins.folder / "bin" / "python"


def build_environment(pins: Pins, say: LogLine) -> tuple[BuiltEnvironment, bool]:
    """The environment of these pins, built if it is not there.

    Args:
        pins: what it holds.
        say: called with a line before anything that takes long.

    Returns:
        What it holds, and whether it was built just now.

    Raises:
        EnvironmentBuildError: the installer failed; nothing is left that could be taken for whole.
    """
    folder = get_environments_root() / pins.folder
    base = build_environment(pins.base, say)[0] if pins.base is not None else None
    lock = f"environment-{folder.name}"
    with acquire_lock(lock, lambda: say(f"waiting for another process that builds {pins.name}")):
        try:
            return _read_built(pins.folder), False
        except RecordError:
            pass  # it is not there, or a build of it was cut off
        say(f"building the environment {pins.name}")
        return _build(pins, folder, base), True


def measure_disk_usage(folders: Iterable[str]) -> int:
    """The bytes of some environments on disk, what they share counted once.

    Raises:
        RecordError: one of them is not there, or not whole.
    """
    found = {folder: _read_built(folder) for folder in folders}
    for built in tuple(found.values()):
        if (base := built.pins.base) is not None:
            found[base.folder] = _read_built(base.folder)
    return sum(built.bytes for built in found.values())


def build_child_environment() -> dict[str, str]:
    """The variables for a Python that runs this harness, which is installed in none of the environments."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY_ROOT),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def _read_built(folder: str) -> BuiltEnvironment:
    return read_record(get_environments_root() / folder / ENVIRONMENT_FILE, BuiltEnvironment)


def _build(pins: Pins, folder: Path, base: BuiltEnvironment | None) -> BuiltEnvironment:
    start = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_name(f"{folder.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    python = folder / "bin" / "python"
    try:
        _run([sys.executable, "-m", "venv", str(folder)], log)
        if base is not None:
            _link_site_packages(folder, get_environments_root() / base.pins.folder)
        if pins.bare:
            _run([*_pip(python), "--no-deps", *pins.bare], log)
        if pins.full:
            _run([*_pip(python), *pins.full], log)
        if base is not None:  # one that is asked, not one that others see
            held = folder / "held.txt"
            held.write_text("\n".join(f"{name}=={version}" for name, version in _packages(python).items()))
            _run([*_pip(python), "--constraint", str(held), *list_harness_requirements()], log)
            _run([str(python), "-m", "vlm_parity", "fix-torchvision"], log)
    except subprocess.CalledProcessError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        raise EnvironmentBuildError(_failure(pins, problem, log)) from problem
    built = BuiltEnvironment(
        pins=pins,
        python=platform.python_version(),
        packages=_packages(python),
        seconds=time.monotonic() - start,
        bytes=_size(folder),
    )
    write_record(folder / ENVIRONMENT_FILE, built)
    return built


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        subprocess.run(
            command, check=True, stdout=output, stderr=subprocess.STDOUT, env=build_child_environment()
        )


def _link_site_packages(folder: Path, base: Path) -> None:
    """Has an environment see what another one holds, behind what it holds itself."""
    (own,) = folder.glob("lib/python*/site-packages")
    (other,) = base.glob("lib/python*/site-packages")
    (own / _BASE_FILE).write_text(f"{other}\n", encoding="utf-8")


def _packages(python: Path) -> dict[str, str]:
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return {each["name"]: each["version"] for each in json.loads(found.stdout)}


def _failure(pins: Pins, problem: subprocess.CalledProcessError, log: Path) -> str:
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return (
        f"the environment {pins.name} could not be built (exit status {problem.returncode}); the last lines "
        "of the installer:\n" + "\n".join(last)
    )


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
