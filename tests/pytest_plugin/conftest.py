"""Sessions of the plug-in, with stored traces, known issues, or an engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.plugin_sessions import (
    CASES,
    KNOWN_ISSUES,
    PLUGIN,
    RunPytest,
    WriteTraces,
    name_case,
    write_module,
)
from tests.support.sessions import prefix_options
from tests.support.traces import ARRAYS, FLOOR, make_trace
from vlm_parity.diagnosis.registry import load_rules
from vlm_parity.schema.noise_floor import get_floor_folder
from vlm_parity.session import references
from vlm_parity.util.environment_variables import CACHE_VARIABLE

# pytester unloads the modules that a session imports: a rule that is imported twice explains twice, and
# a patch of a module that is imported again has no effect.
load_rules()
import_module("vlm_parity.pytest_plugin.collection")


@pytest.fixture
def parity(pytester: pytest.Pytester) -> RunPytest:
    """Return ``pytest cases`` in a clone with three of the cases: a text, two images, a video."""
    folder = pytester.path / "cases"
    (folder / "conversations").mkdir(parents=True)
    (folder / "test_input.py").write_text(write_module("tokens"))
    (folder / "test_output.py").write_text(write_module("logits"))
    for name in ("text_only", "two_images", "one_video"):
        shutil.copy(CASES / "conversations" / f"{name}.yaml", folder / "conversations")
    inprocess = pytester.runpytest_inprocess

    def run(*arguments: str, run: Callable[..., pytest.RunResult] = inprocess) -> pytest.RunResult:
        return run(*PLUGIN, *prefix_options("--strict-markers", "--run", "run", "cases", *arguments))

    return run


@pytest.fixture
def earlier_run(pytester: pytest.Pytester) -> WriteTraces:
    """Return a function that writes two cases with equal traces, but for the changes of one trace."""

    def write(logits: dict[str, np.ndarray] = ARRAYS, **changes: Any) -> None:
        folder = pytester.path / "earlier" / "shards" / "vllm" / "traces" / "qwen2_vl"
        for case in ("text_only", "two_images"):
            names = name_case(case)
            make_trace("transformers", **names).write(folder / "reference" / case, ARRAYS)
            FLOOR.write(get_floor_folder(folder / "reference" / case, "float32"))
            make_trace(**names).write(folder / "vllm" / case, ARRAYS)
        make_trace(**names, **changes).write(folder / "vllm" / "two_images", logits)

    return write


@pytest.fixture
def known_issues(pytester: pytest.Pytester) -> Path:
    """Write a file of known issues next to the cases: a mismatch in the ids of one case."""
    path = pytester.path / "cases" / "known_issues.toml"
    path.write_text(KNOWN_ISSUES)
    return path


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that keeps the traces of the reference from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def engine(
    parity: RunPytest,
    tiny_engine: str,
    shared_cache: Path,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> RunPytest:
    """Return ``pytest cases`` on a model of the tiny engine; the reference is the tiny engine too."""
    monkeypatch.setattr(references, "REFERENCE_BACKEND", tiny_engine)
    monkeypatch.setenv(CACHE_VARIABLE, str(shared_cache))
    model = write_checkpoint(pytester.path / "tiny model", model_type="tiny")
    return lambda *arguments: parity("--backend", tiny_engine, "--model", str(model), "-rfs", *arguments)
