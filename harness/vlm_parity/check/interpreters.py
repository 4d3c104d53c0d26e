"""Which Python a backend is to be run by: engines cannot share one."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

from vlm_parity.backends.registry import backend_class
from vlm_parity.util.checkout import CLONE
from vlm_parity.util.errors import EngineNotInstalledError

_ASKING = 60
"""Seconds; a Python that has nothing to import is there in less than one."""


def interpreter_of(backend: str, clone: Path = CLONE) -> Path:
    """This Python where the engine is installed in it, else that of the tox environment of its name.

    Args:
        backend: its name.
        clone: the folder of ``tox.ini``.

    Raises:
        EngineNotInstalledError: neither has the engine.
        UnknownBackendError: no backend has this name.
    """
    engine = backend_class(backend).engine
    if find_spec(engine) is not None:
        return Path(sys.executable)
    own = clone / ".tox" / backend / "bin" / "python"
    if own.exists() and _has(own, engine):
        return own
    raise EngineNotInstalledError(f"{backend} is not installed here: {_how_to_get(backend, engine, clone)}")


def _has(python: Path, engine: str) -> bool:
    program = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
    command = [str(python), "-c", program, engine]
    return subprocess.run(command, check=False, timeout=_ASKING).returncode == 0  # noqa: S603


def _how_to_get(backend: str, engine: str, clone: Path) -> str:
    tox = ConfigParser(interpolation=None)
    tox.read(clone / "tox.ini", encoding="utf-8")
    here = f"`pip install {engine}` in this environment"
    if not tox.has_section(f"testenv:{backend}"):
        return here
    return f"`tox -e {backend} --notest` in {clone} makes an environment that is used from then on; or {here}"
