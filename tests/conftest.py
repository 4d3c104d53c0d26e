"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.distributions import write_backend_distribution
from tests.support.traces import TraceFiles
from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.report import contradictions
from vlm_parity.util.environment_variables import CACHE_VARIABLE

SUPPORT = Path(__file__).parent / "support"

settings.register_profile("no deadline", deadline=None)  # a machine may be busy
settings.load_profile("no deadline")


@pytest.fixture
def trace_files(tmp_path: Path) -> TraceFiles:
    """Two traces of the same case, written to disk, in perfect agreement."""
    return TraceFiles(tmp_path)


@pytest.fixture
def install_backend(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Path, str], str]:
    """Return a function that installs a module as a third party's distribution, by its entry point.

    It is installed for this process and its children. The function takes the backend's name, the file and
    ``module:Class``, and returns the name.
    """

    def install(name: str, file: Path, target: str) -> str:
        site = tmp_path_factory.mktemp("site")
        write_backend_distribution(site, name, file, target)
        monkeypatch.syspath_prepend(site)
        paths = [str(site), *filter(None, [os.getenv("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        return name

    return install


@pytest.fixture
def tiny_engine(install_backend: Callable[[str, Path, str], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Install the backend of ``tests/support/tiny_engine.py``, also as a reference; return its name."""
    monkeypatch.setattr(contradictions, "REFERENCES", frozenset({REFERENCE_BACKEND, "tiny_engine"}))
    return install_backend("tiny_engine", SUPPORT / "tiny_engine.py", "tiny_engine:TinyEngine")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"
