"""Two workers of a cluster against one on the same engine loads, and one worker against plain `parity run`.

  python benchmarks/cluster.py --python .tox/lmdeploy/bin/python
  python benchmarks/cluster.py --python .tox/vllm/bin/python --backend vllm --depth logits

Clusters of one and of two nodes with a CPU each, on loopback. Two kinds of loads: real ones, which share the
cores of this machine, and loads that only wait. Needs `vlm-parity[cluster]`; PYTHON is one with the backend.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from target import USAGE, build_parser, check_target, get_exit_code

from vlm_parity.models.registry import FAMILIES

ROOT = Path(__file__).parents[1]
THROUGHPUT, OVERHEAD = 1.8, 1.1
MODELS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v")
WAITING_LOADS, WAIT_S = 8, 10
"""Number of loads that wait, and seconds of each."""
_NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20, "include_dashboard": False}


def main() -> int:
    """Measure, print each time and ratio, and return the exit code."""
    parser = build_parser(str(__doc__))
    add = parser.add_argument
    add(
        "--python",
        type=lambda text: Path(text).absolute(),
        required=True,
        help="Python with the backend and vlm-parity",
    )
    add("--backend", default="transformers", help="default: %(default)s, against itself")
    add("--depth", default="tokens", help="default: %(default)s")
    add("--model", action="append", help=f"repeatable; default: {', '.join(MODELS)}")
    add("--repeat", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    models = args.model or MODELS
    words = ["--backend", args.backend, "--depth", args.depth, "--case", "text_only", "--case", "one_image"]
    with tempfile.TemporaryDirectory() as folder:
        waiting = _write_waiting_python(Path(folder))
        if _run_plain(args.python, words, models, folder) is None:  # builds checkpoints, fills the cache
            print("a session failed, so nothing was measured", file=sys.stderr)
            return USAGE
        times = _Times()
        for _ in range(args.repeat):
            times.measure_real(args, words, models, folder)
            times.measure_waiting(args, waiting, folder)
    return get_exit_code(
        [
            check_target("one worker / two, loads that wait", times.waiting, THROUGHPUT, "least"),
            check_target("one worker / two, real loads", times.real, THROUGHPUT, "least"),
            check_target("one worker / the waits alone", times.waiting_overhead, OVERHEAD, "most"),
            check_target("one worker / plain sessions, real loads", times.overhead, OVERHEAD, "most"),
        ]
    )


@dataclass
class _Times:
    """Ratios of each repetition; the compared passes follow each other."""

    real: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    waiting_overhead: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)

    def measure_real(
        self, args: argparse.Namespace, words: Sequence[str], models: Sequence[str], folder: str
    ) -> None:
        one = _measure(args, words, args.python, models, folder, workers=1)
        plain = _run_plain(args.python, words, models, folder)
        assert plain is not None, "the same sessions ran before"
        print(f"{len(models)} plain sessions, one after the other: {plain:.1f} s", flush=True)
        self.overhead.append(one / plain)
        self.real.append(one / _measure(args, words, args.python, models, folder, workers=2))

    def measure_waiting(self, args: argparse.Namespace, python: Path, folder: str) -> None:
        words = ["--backend", args.backend, "--depth", "tokens", "--case", "text_only"]
        models = [*FAMILIES][:WAITING_LOADS]
        one = _measure(args, words, python, models, folder, workers=1)
        self.waiting_overhead.append(one / (len(models) * WAIT_S))
        self.waiting.append(one / _measure(args, words, python, models, folder, workers=2))


def _measure(
    args: argparse.Namespace,
    words: Sequence[str],
    python: Path,
    models: Sequence[str],
    folder: str,
    *,
    workers: int,
) -> float:
    """Return the seconds of a run, without the start of its cluster."""
    with _start_cluster(workers) as address:
        seconds = _run_on_cluster(args, words, python, models, address, folder)
    print(f"{len(models)} loads by {python.name}, {workers} workers: {seconds:.1f} s", flush=True)
    return seconds


@contextmanager
def _start_cluster(workers: int) -> Iterator[str]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=_NODE)
    try:
        for _ in range(workers - 1):
            cluster.add_node(**_NODE)
        yield cluster.address
    finally:
        cluster.shutdown()


def _run_on_cluster(
    args: argparse.Namespace,
    words: Sequence[str],
    python: Path,
    models: Sequence[str],
    address: str,
    folder: str,
) -> float:
    command = [sys.executable, "-m", "vlm_parity", "run", "--cluster", address, *words, *_select(models)]
    command += [
        "--backend-env",
        f"{args.backend}={python}",
        "--load-memory",
        "1",
        "--run",
        f"{folder}/cluster",
    ]
    start = time.monotonic()
    code = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    assert code in ({0, 1} if python == args.python else {3}), (
        f"exit code {code}"
    )  # nothing is compared in waits
    return time.monotonic() - start


def _run_plain(python: Path, words: Sequence[str], models: Sequence[str], folder: str) -> float | None:
    """Return the seconds of a plain session for each model, one after the other; None if one failed."""
    start = time.monotonic()
    for model in models:
        command = [
            str(python),
            "-m",
            "vlm_parity",
            "run",
            *words,
            *_select([model]),
            "--run",
            f"{folder}/plain",
        ]
        command += ["--shard", model, "--", "-p", "no:terminal", "-p", "no:cacheprovider"]
        if subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.DEVNULL).returncode > 1:
            return None
    return time.monotonic() - start


def _write_waiting_python(folder: Path) -> Path:
    path = folder / "waiting-python"
    path.write_text(f"#!/bin/sh\nexec sleep {WAIT_S}\n")
    path.chmod(0o755)
    return path


def _select(models: Sequence[str]) -> list[str]:
    return [f"--model={model}" for model in models]


if __name__ == "__main__":
    sys.exit(main())
