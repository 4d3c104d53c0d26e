"""Repair of packages that pip installed in builds that cannot be imported; working packages are left alone.

pip may install CUDA builds of torchvision, torchaudio and torchcodec next to a CPU build of PyTorch. Their
compiled parts cannot be loaded, and transformers fails when it imports them.
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from vlm_parity.util.child_process import run_child
from vlm_parity.util.errors import RepairError

_HOOK = "vlm_parity_torchvision_on_cpu"
_HOOK_SOURCE = Path(__file__).with_name("torchvision_hook.py")
"""Read as text, never imported: an import would install the hook into this process."""
_TORCHVISION_SYMPTOM = "operator torchvision::nms does not exist"
_UNLOADABLE = "Could not load this library"
_OPTIONAL = ("torchaudio", "torchcodec")
"""Imported by transformers if they are installed, needed by no processor."""
_OUTPUT_TAIL = 2000
"""Characters of a failed import's output in an error message."""


def is_torchvision_repaired() -> bool:
    """Return whether this environment imports torchvision through the hook."""
    return find_spec(_HOOK) is not None


def repair_torchvision() -> list[str]:
    """Repair this environment.

    Returns:
        A sentence for each repaired package; empty if nothing was broken.

    Raises:
        RepairError: a package still cannot be imported.
    """
    repairs = []
    output = _try_import("torchvision")
    if output and _TORCHVISION_SYMPTOM in output:
        _install_hook()
        repairs.append("torchvision: a CUDA build with a CPU PyTorch; an import hook declares its operators.")
        _check_import("torchvision")
    for package in _OPTIONAL:
        output = _try_import(package)
        if output and _UNLOADABLE in output:
            _pip("uninstall", "--yes", package)
            repairs.append(f"{package}: its library cannot be loaded; uninstalled, because nothing needs it.")
    return repairs


def _install_hook() -> None:
    site = Path(sysconfig.get_path("purelib"))
    source = _HOOK_SOURCE.read_text(encoding="utf-8")
    (site / f"{_HOOK}.py").write_text(source, encoding="utf-8")
    (site / f"{_HOOK}.pth").write_text(f"import {_HOOK}\n", encoding="utf-8")


def _try_import(package: str) -> str | None:
    """Return the output of a failed import; None if it succeeds or the package is not installed."""
    if find_spec(package) is None:
        return None
    done = run_child([sys.executable, "-c", f"import {package}"], capture_output=True, text=True)
    output: str = done.stderr
    return output if done.returncode else None


def _check_import(package: str) -> None:
    output = _try_import(package)
    if output:
        raise RepairError(f"{package} still cannot be imported: {output[-_OUTPUT_TAIL:]}")


def _pip(*arguments: str) -> None:
    run_child([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)
