"""Fixtures of more than one folder of tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.traces import TraceFiles
from vlm_parity.util.cache_dir import CACHE_VARIABLE

SUPPORT = Path(__file__).parent / "support"

settings.register_profile("no deadline", deadline=None)  # a machine may be busy
settings.load_profile("no deadline")


@pytest.fixture
def trace_files(tmp_path: Path) -> TraceFiles:
    """Two traces of the same case, written to disk, in perfect agreement."""
    return TraceFiles(tmp_path)


@pytest.fixture
def tiny_engine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """Installs ``tests/support/tiny_engine.py`` as a third party's distribution would be: by its entry
    point, for this process and for its children. Gives the backend's name.
    """
    site = tmp_path_factory.mktemp("site")
    (site / "tiny_engine.py").write_bytes((SUPPORT / "tiny_engine.py").read_bytes())
    info = site / "tiny_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vlm_parity.backends]\ntiny_engine = tiny_engine:TinyEngine\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.getenv("PYTHONPATH")])]))
    return "tiny_engine"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models and reference traces."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"
