"""Runs on a cluster of Ray, with the tiny engine on both sides: real sessions of about a second."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.distributions import write_backend_distribution
from tests.support.faults.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
BACKEND = "tiny_engine"
MODELS = ("model", "model_b", "model_c", "model_d")
_PYTHON = """\
#!{python}
# A Python whose only program is parity, with the tiny engine as reference; its sessions wait in $WAIT_S.
import json, os, sys, time
from unittest.mock import patch
sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)
from vlm_parity.cli.main import main
from vlm_parity.report import contradictions
from vlm_parity.session import references

words = sys.argv[3:]
if "--shard" in words:
    variables = {{name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}}
    start = {{"shard": words[words.index("--shard") + 1], "pid": os.getpid(), **variables}}
    with open({starts!r}, "a") as file:
        file.write(json.dumps(start) + "\\n")
    time.sleep(float(os.environ.get("WAIT_S", "0")))
with (
    patch.object(references, "REFERENCE_BACKEND", "tiny_engine"),
    patch.object(contradictions, "REFERENCES", frozenset({{"tiny_engine"}})),
):
    sys.exit(main(words))
"""


@dataclass(frozen=True)
class ClusterRuns:
    """A folder with cases and models, and the command that runs them on a cluster."""

    folder: Path
    python: Path

    @classmethod
    def create(cls, folder: Path) -> ClusterRuns:
        """Create the folder: four models of one engine, and a Python that has the engine."""
        sandbox = Sandbox.create(folder / "clone")
        for model in MODELS[1:]:
            shutil.copytree(sandbox.folder / MODELS[0], sandbox.folder / model)
            (sandbox.folder / model / "tokenizer.json").write_text(f'{{"model": "{model}"}}')
        (folder / "site").mkdir()
        write_backend_distribution(
            folder / "site", BACKEND, ROOT / "tests/support/tiny_engine.py", "tiny_engine:TinyEngine"
        )
        python = folder / "python"
        python.write_text(_PYTHON.format(python=sys.executable, starts=str(folder / "starts")))
        python.chmod(0o755)
        return cls(folder, python)

    @property
    def clone(self) -> Path:
        """The working directory."""
        return self.folder / "clone"

    @property
    def run_folder(self) -> Path:
        """The run folder of every run."""
        return self.clone / "runs" / "cluster"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a run and of the nodes."""
        paths = (self.folder / "site", ROOT, ROOT / "harness")
        return {
            "VLM_PARITY_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def build_words(self, address: str, *more: str, models: Iterable[str] = MODELS) -> list[str]:
        """Return the command line of a run of two cases on some models."""
        selected = [f"--model=./{model}" for model in models]
        environment = ["--backend", BACKEND, "--backend-env", f"{BACKEND}={self.python}"]
        cases = ["--case", "text", "--case", "image", "--run", str(self.run_folder), "--load-memory", "0.1"]
        command = [str(self.python), "-m", "vlm_parity", "run", "cases", "--cluster", address]
        return [*command, *environment, *selected, *cases, *more]

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        """Start a run, both of its streams in one pipe."""
        return subprocess.Popen(
            words,
            cwd=self.clone,
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_starts(self) -> list[str]:
        """Return a line for each session that has started, the sessions of lost tasks included."""
        path = self.folder / "starts"
        return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.1)
