"""Repairs, shown on a new environment with stand-ins for torch and torchvision."""

from __future__ import annotations

import importlib
import subprocess
import sys
import venv
from pathlib import Path
from textwrap import dedent

import pytest

from vlm_parity.python_env import repair as module
from vlm_parity.python_env.repair import is_torchvision_repaired, repair_torchvision
from vlm_parity.util.errors import RepairError

TORCH = """\
    from types import SimpleNamespace
    DECLARED = set()
    class Library:
        def __init__(self, name, kind):
            self.name = name
        def define(self, signature):
            DECLARED.add(self.name + "::" + signature.partition("(")[0])
    library = SimpleNamespace(Library=Library)
    """
TORCHVISION = """\
    import torch
    if "torchvision::nms" not in torch.DECLARED:
        raise RuntimeError("operator torchvision::nms does not exist")
    LOADED = True
    """
UNLOADABLE = 'raise OSError("Could not load this library: libtorchaudio.so")'


class Site:
    """The packages of an environment."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.uninstalled: list[str] = []

    def install(self, package: str, source: str) -> None:
        (self.folder / package).mkdir()
        (self.folder / package / "__init__.py").write_text(dedent(source))
        importlib.invalidate_caches()

    def pip(self, command: str, *arguments: str) -> None:
        assert command == "uninstall"
        self.uninstalled.append(arguments[-1])

    def run(self, code: str) -> str:
        return subprocess.run(
            [self.python, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Create an environment that ``repair`` regards as its own, without the harness."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (folder,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    site = Site(python, folder)
    for package in ("torch", "torchvision", "torchaudio", "torchcodec", module._HOOK):
        monkeypatch.delitem(sys.modules, package, raising=False)
    ours = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(folder), *ours])
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr("sysconfig.get_path", {"purelib": str(folder)}.get)
    monkeypatch.setattr(module, "_pip", site.pip)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return site


def test_an_environment_without_torchvision_needs_nothing(site: Site) -> None:
    before = set(site.folder.iterdir())
    assert repair_torchvision() == []
    assert set(site.folder.iterdir()) == before


def test_torchvision_that_works_is_left_alone(site: Site) -> None:
    site.install("torchvision", "")
    assert repair_torchvision() == []
    assert not is_torchvision_repaired()


def test_torchvision_of_another_build_is_made_importable_at_every_start(site: Site) -> None:
    site.install("torch", TORCH)
    site.install("torchvision", TORCHVISION)
    assert repair_torchvision() == [
        "torchvision: a CUDA build with a CPU PyTorch; an import hook declares its operators."
    ]
    assert is_torchvision_repaired()
    declared = "import torchvision, torch; print(torchvision.LOADED, sorted(torch.DECLARED))"
    assert site.run(declared) == "True ['torchvision::nms', 'torchvision::qnms']"
    assert repair_torchvision() == []


def test_the_hook_imports_torch_only_with_torchvision(site: Site) -> None:
    site.install("torch", TORCH)
    site.install("torchvision", TORCHVISION)
    repair_torchvision()
    assert site.run("import sys; print('torch' in sys.modules)") == "False"


def test_failed_repair_is_an_error(site: Site) -> None:
    site.install("torch", TORCH)
    site.install("torchvision", 'raise RuntimeError("operator torchvision::nms does not exist, anyway")')
    with pytest.raises(RepairError, match=r"torchvision still cannot be imported: (.*\n)*.*, anyway"):
        repair_torchvision()


def test_another_fault_of_torchvision_is_not_touched(site: Site) -> None:
    site.install("torchvision", 'raise ImportError("no module named PIL")')
    assert repair_torchvision() == []
    assert not is_torchvision_repaired()


def test_optional_packages_that_cannot_load_are_uninstalled(site: Site) -> None:
    site.install("torchaudio", UNLOADABLE)
    site.install("torchcodec", 'raise ImportError("anything else")')
    assert repair_torchvision() == [
        "torchaudio: its library cannot be loaded; uninstalled, because nothing needs it."
    ]
    assert site.uninstalled == ["torchaudio"]


def test_knowing_the_backends_puts_no_hook_into_a_process() -> None:
    """An environment whose torchvision works dies of operators that are declared twice."""
    code = dedent("""\
        import sys
        from vlm_parity.backends.registry import BUILT_IN, load_backend_class
        print([load_backend_class(name).name for name in BUILT_IN], "vlm_parity.python_env.torchvision_hook"
        in sys.modules)
        """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['transformers', 'vllm', 'lmdeploy'] False\n"
