"""Choice of the Python that runs a backend: engines cannot share an environment."""

from __future__ import annotations

import sys
from pathlib import Path

from vlm_parity.backends.installation import has_tox_environment, is_installed
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import EngineNotInstalledError

_PROBE_TIMEOUT = 60
"""Seconds; a Python that imports nothing starts in less than one."""


def find_interpreter(backend: str, clone: Path = REPOSITORY_ROOT) -> Path:
    """Return this Python if the engine is installed in it, else that of the tox environment of the same name.

    Args:
        backend: name of the backend.
        clone: folder of ``tox.ini``.

    Raises:
        EngineNotInstalledError: the engine is installed in neither.
        UnknownBackendError: no backend has this name.
    """
    if is_installed(backend):
        return Path(sys.executable)
    engine = load_backend_class(backend).engine
    tox_python = clone / ".tox" / backend / "bin" / "python"
    if tox_python.exists() and _has_engine(tox_python, engine):
        return tox_python
    raise EngineNotInstalledError(f"{backend} is not installed here: {_format_hint(backend, engine, clone)}")


def _has_engine(python: Path, engine: str) -> bool:
    program = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
    command = [str(python), "-c", program, engine]
    return run_child(command, timeout=_PROBE_TIMEOUT).returncode == 0


def _format_hint(backend: str, engine: str, clone: Path) -> str:
    here = f"`pip install {engine}` in this environment"
    if not has_tox_environment(backend, clone):
        return f"run {here}"
    return f"run `tox -e {backend} --notest` in {clone}, whose environment is then used, or {here}"
