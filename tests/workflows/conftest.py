"""Runs of the workflows on stored traces: what needs a GPU or an engine is replaced, visibly, below."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.support.plugin_sessions import CASES, name_case, write_module
from tests.support.traces import ARRAYS, FLOOR, PREFILL, make_trace
from tests.support.workflows import WorkflowRun, write_command, write_parity_command
from vlm_parity.schema.noise_floor import get_floor_folder
from vlm_parity.util.environment_variables import CACHE_VARIABLE

SELECTED = ("text_only", "two_images")
MODELS = ("qwen2_vl", "qwen3_vl")
BACKENDS = ("vllm", "lmdeploy")
ON_STORED_TRACES = '--model qwen2_vl --model qwen3_vl --rejudge "$TRACES"'
"""Replaces the options that need a GPU: the same commands compare stored traces of two models again."""
REPLACEMENTS = {
    "nightly.yml": {"--model all --mode all --device cuda --dtype bfloat16": ON_STORED_TRACES},
    "release_gate.yml": {
        "--model all --mode all --entry-point all --device cuda --dtype bfloat16": ON_STORED_TRACES
    },
    "pull_request.yml": {"-- cases --depth tokens": f"-- cases {ON_STORED_TRACES}"},
}
VALUES = {
    "github.token": "token",
    "github.repository": "owner/name",
    "github.run_id": "1",
    "github.ref": "refs/heads/main",
    "github.workspace": ".",
    "hashFiles('locks/*.txt')": "0",
    "inputs.accept": "",
    "inputs.backend": "vllm",
    "inputs.image": "engine:candidate",
}
GH = """\
case "$1 $2" in
  "run list") cat "$GH_STATE/passed" 2> "$GH_STATE/errors" || true ;;
  "run download") cp -r "$GH_STATE/runs/$3" "$7" ;;
  "issue list") cat "$GH_STATE/issue" 2> "$GH_STATE/errors" || true ;;
  "issue create") echo 7 > "$GH_STATE/issue"; cp "$8" "$GH_STATE/issue.md" ;;
  "issue comment") cat "$5" >> "$GH_STATE/issue.md" ;;
  *) echo "no such command: gh $*" >&2; exit 1 ;;
esac
"""
TOX = """\
test "$1" = -e
if [ "$2" = lint,tests ]; then exit 0; fi  # these tests are among them
engine=$2; shift 3
exec parity run --run .tox/run --shard "$engine" --backend "$engine" "$@"
"""
"""As in tox.ini, but for the environments."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with cases, and test modules for six stages."""
    folder = tmp_path_factory.mktemp("checkout")
    conversations = folder / "cases" / "conversations"
    conversations.mkdir(parents=True)
    for case in SELECTED:
        shutil.copy(CASES / "conversations" / f"{case}.yaml", conversations)
    (folder / "cases" / "test_input.py").write_text(write_module("tokens"))
    (folder / "cases" / "test_output.py").write_text(write_module("logits"))
    return folder


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``parity`` and stand-ins for the commands that need a network."""
    folder = tmp_path_factory.mktemp("bin")
    write_parity_command(folder)
    write_command(folder, "pip", 'test "$1" = install')
    write_command(folder, "gh", GH)
    write_command(folder, "tox", TOX)
    return folder


@pytest.fixture(scope="module")
def gh_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that stands for the repository's runs and issues."""
    return tmp_path_factory.mktemp("gh")


@pytest.fixture(scope="module", autouse=True)
def environment(gh_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """Set the variables of the stand-ins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GH_STATE", str(gh_state))
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.delenv("COLUMNS", raising=False)
        yield


def write_traces(folder: Path, differing: Iterable[tuple[str, str]] = ()) -> Path:
    """Write traces of every backend and model that agree with the reference, but for one row of logits.

    Args:
        folder: to write to.
        differing: backends and models that differ on the case with two images.
    """
    differing = set(differing)
    moved = PREFILL.copy()
    moved[4, 0] += 1
    for backend in BACKENDS:
        for model in MODELS:
            traces = folder / "shards" / backend / "traces" / model
            for case in SELECTED:
                names = {**name_case(case), "model": model}
                reference = traces / "reference" / case
                make_trace("transformers", **names).write(reference, ARRAYS)
                FLOOR.write(get_floor_folder(reference, "float32"))
                differs = (backend, model) in differing and case == "two_images"
                arrays: dict[str, np.ndarray] = {**ARRAYS, "prefill": moved} if differs else ARRAYS
                make_trace(backend, **names).write(traces / backend / case, arrays)
    return folder


def start_run(name: str, folder: Path, checkout: Path, commands: Path, traces: Path) -> WorkflowRun:
    """Return a run of a workflow on stored traces."""
    os.environ["TRACES"] = str(traces)
    return WorkflowRun(name, folder, checkout, commands, VALUES, REPLACEMENTS[name])
