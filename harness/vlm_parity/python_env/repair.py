"""Repairs what is known to be broken in an environment that pip made, and only where it is.

Beside a CPU build of PyTorch, pip may install CUDA builds of its companions. Their compiled parts
cannot load, and transformers fails when it imports them.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from vlm_parity.util.errors import RepairError

_HOOK = "vlm_parity_torchvision_on_cpu"
_HOOK_SOURCE = Path(__file__).with_name("torchvision_hook.py")
"""Read, never imported here: its import puts the hook into this process, whether it is needed or not."""
_TORCHVISION_SYMPTOM = "operator torchvision::nms does not exist"
_UNLOADABLE = "Could not load this library"
_OPTIONAL = ("torchaudio", "torchcodec")
"""Looked for by transformers, needed by none of the processors here: better absent than broken."""


def is_torchvision_repaired() -> bool:
    """Whether this environment imports torchvision through the harness's hook."""
    return find_spec(_HOOK) is not None


def repair_torchvision() -> list[str]:
    """Repairs this environment.

    Returns:
        What was done, a sentence for each package; empty where nothing was broken.

    Raises:
        RepairError: a package still does not import.
    """
    done = []
    failure = _import_failure("torchvision")
    if failure and _TORCHVISION_SYMPTOM in failure:
        _install_hook()
        done.append("torchvision: a CUDA build beside a CPU PyTorch; an import hook declares its operators.")
        _check_import("torchvision")
    for package in _OPTIONAL:
        failure = _import_failure(package)
        if failure and _UNLOADABLE in failure:
            _pip("uninstall", "--yes", package)
            done.append(f"{package}: its library cannot load here; uninstalled, for nothing needs it.")
    return done


def _install_hook() -> None:
    site = Path(sysconfig.get_path("purelib"))
    source = _HOOK_SOURCE.read_text(encoding="utf-8")
    (site / f"{_HOOK}.py").write_text(source, encoding="utf-8")
    (site / f"{_HOOK}.pth").write_text(f"import {_HOOK}\n", encoding="utf-8")


def _import_failure(package: str) -> str | None:
    """What the failing import printed; None where it works or the package is not installed."""
    if find_spec(package) is None:
        return None
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}"], capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else None


def _check_import(package: str) -> None:
    failure = _import_failure(package)
    if failure:
        raise RepairError(f"{package} still does not import: {failure[-2000:]}")


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)
