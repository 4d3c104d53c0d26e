"""Releases without an installation: the tiny engine in this Python, with wrong ids in some releases."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vlm_parity.backends import releases
from vlm_parity.backends.releases import ReleaseRange
from vlm_parity.releases import query as ask
from vlm_parity.releases.environment import (
    ENVIRONMENT_FILE,
    BuiltEnvironment,
    LogLine,
    build_child_environment,
    get_environments_root,
)
from vlm_parity.releases.pins import Pins
from vlm_parity.releases.query import ReleaseQuery
from vlm_parity.schema.record import write_record
from vlm_parity.util.errors import EnvironmentBuildError

WRONG_UNTIL = "1.3"
"""The releases before it change the last id of every case."""
NOT_INSTALLABLE = "1.1"
MODULE = """
import pytest

@pytest.mark.parity_tokens
@pytest.mark.parametrize("stage", ["prompt", "input_ids", "spans"])
def test_stage(parity_comparison, stage): parity_comparison.check(stage)
"""
CONFTEST = """
from vlm_parity.session import references
from vlm_parity.report import contradictions
references.REFERENCE_BACKEND = "tiny_engine"
contradictions.REFERENCES = {"tiny_engine"}
"""
CASE = """\
summary: An image between two texts.
messages:
  - role: user
    content: [{text: Look at}, {image: {pattern: gradient, size: [8, 8]}}, {text: this.}]
"""


def _build(pins: Pins, log: LogLine) -> tuple[BuiltEnvironment, bool]:
    log(f"building {pins.name}")
    if pins.name.endswith(NOT_INSTALLABLE):
        raise EnvironmentBuildError(f"the environment {pins.name} could not be built: no wheel")
    built = BuiltEnvironment(pins=pins, python="3.11", packages={}, seconds=2.0, bytes=1000)
    write_record(get_environments_root() / pins.folder / ENVIRONMENT_FILE, built)
    return built, True


@pytest.fixture
def engine(tiny_engine: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a backend with the releases from 1.0."""
    assert not cache.exists()
    table = ReleaseRange(backend=tiny_engine, versions=">=1.0", distribution="tiny-engine")
    monkeypatch.setattr(releases, "_load_tables", lambda: (table,))
    monkeypatch.setattr(ask, "build_environment", _build)
    monkeypatch.setattr(ask, "get_python", lambda _: Path(sys.executable))
    site = {"PYTHONPATH": os.environ["PYTHONPATH"]}  # where the tiny engine lies
    monkeypatch.setattr(ask, "build_child_environment", lambda: build_child_environment() | site)
    run_pytest = ask._run_pytest

    def run(query: ReleaseQuery, python: Path, folder: Path, shard: str) -> str:
        is_wrong = shard.rpartition("-")[2] < WRONG_UNTIL
        engine_args = ("wrong id one_image=1",) if is_wrong else ()
        return run_pytest(replace(query, engine_args=engine_args), python, folder, shard)

    monkeypatch.setattr(ask, "_run_pytest", run)
    return tiny_engine


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """Write a folder of test modules with one case."""
    folder = tmp_path / "cases"
    (folder / "conversations").mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_stages.py").write_text(MODULE)
    (folder / "conversations" / "one_image.yaml").write_text(CASE)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a checkpoint without weights."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    return folder
