"""Which Python a backend is to be run by: engines cannot share one."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.errors import EngineNotInstalledError

_IMPORT_PROBE = 60
"""Seconds; a Python that has nothing to import is there in less than one."""


def find_interpreter(backend: str, clone: Path = REPOSITORY_ROOT) -> Path:
    """This Python where the engine is installed in it, else that of the tox environment of its name.

    Args:
        backend: its name.
        clone: the folder of ``tox.ini``.

    Raises:
        EngineNotInstalledError: neither has the engine.
        UnknownBackendError: no backend has this name.
    """
    engine = load_backend_class(backend).engine
    if find_spec(engine) is not None:
        return Path(sys.executable)
    own = clone / ".tox" / backend / "bin" / "python"
    if own.exists() and _has_engine(own, engine):
        return own
    raise EngineNotInstalledError(f"{backend} is not installed here: {_install_hint(backend, engine, clone)}")


def _has_engine(python: Path, engine: str) -> bool:
    program = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
    command = [str(python), "-c", program, engine]
    return subprocess.run(command, check=False, timeout=_IMPORT_PROBE).returncode == 0


def _install_hint(backend: str, engine: str, clone: Path) -> str:
    tox = ConfigParser(interpolation=None)
    tox.read(clone / "tox.ini", encoding="utf-8")
    here = f"`pip install {engine}` in this environment"
    if not tox.has_section(f"testenv:{backend}"):
        return here
    return f"`tox -e {backend} --notest` in {clone} makes an environment that is used from then on; or {here}"
