"""Runs on clusters of Ray on this machine: lost nodes, crashes, interrupts, missing resources."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vlm-parity[cluster]'")

from ray.cluster_utils import Cluster

from tests.support.cluster_runs import MODELS, ClusterRuns, wait_for
from tests.support.processes import is_running
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED

SHARDS = {f"{model}-tiny_engine" for model in MODELS}
PATIENCE_S = 180.0
_NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterRuns:
    runs = ClusterRuns.create(tmp_path)
    for name, value in runs.variables.items():  # of the nodes
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token would be written into the home folder
    return runs


@pytest.fixture
def start_cluster() -> Iterator[Any]:
    """Return a function that starts a cluster; its nodes get the environment variables of the test."""
    clusters = []

    def start(**head: Any) -> Cluster:
        clusters.append(Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **_NODE, **head}))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.shutdown()


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and the output of a run."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def count_verdicts(run: LoadedRun) -> Counter[tuple[str, str, str]]:
    return Counter((entry.shard, entry.verdict.model, entry.verdict.case) for entry in run.verdicts)


@pytest.mark.usefixtures("accept_tiny_engine")
def test_a_killed_node_loses_and_doubles_no_verdict(
    runs: ClusterRuns, start_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT_S", "6")
    cluster = start_cluster()
    node = cluster.add_node(num_cpus=1, **_NODE)
    process = runs.start(runs.build_words(cluster.address))
    wait_for(lambda: len(runs.read_starts()) >= 2, PATIENCE_S)
    cluster.remove_node(node, allow_graceful=False)
    code, output = finish(process)
    run = load_run(runs.run_folder)
    assert code == PASSED, output
    assert {shard.name for shard in run.shards} == SHARDS
    expected = {(f"{model}-tiny_engine", model, case) for model in MODELS for case in ("text", "image")}
    assert count_verdicts(run) == Counter(expected)
    assert run.passes
    starts = Counter(json.loads(line)["shard"] for line in runs.read_starts())
    assert set(starts) == SHARDS
    assert starts.total() == len(SHARDS) + 1  # the load of the killed node ran twice
    assert not any(is_running(json.loads(line)["pid"]) for line in runs.read_starts())
    assert output.count("was lost; its loads run elsewhere") == 1
    assert "raylet" not in output


def test_an_interrupt_ends_all_sessions_and_writes_the_report(
    runs: ClusterRuns, start_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT_S", "600")
    process = runs.start(runs.build_words(start_cluster(num_cpus=2).address))
    wait_for(lambda: len(runs.read_starts()) == 2, PATIENCE_S)
    os.kill(process.pid, signal.SIGTERM)
    code, output = finish(process)
    assert code == NOT_COMPARED
    assert "parity: interrupted" in output
    assert "0 of 2 expected verdicts; model tiny_engine: the run was interrupted" in output
    assert {shard.name for shard in load_run(runs.run_folder).incomplete} == SHARDS
    wait_for(lambda: not any(is_running(json.loads(line)["pid"]) for line in runs.read_starts()), 5)


def test_each_load_has_gpus_of_its_own(
    runs: ClusterRuns, start_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT_S", "4")
    address = start_cluster(num_cpus=4, num_gpus=3).address
    code, output = finish(runs.start(runs.build_words(address, "--load-gpus", "1", models=MODELS[:3])))
    assert code == PASSED, output
    devices = [json.loads(line)["CUDA_VISIBLE_DEVICES"] for line in runs.read_starts()]
    assert sorted(devices) == ["0", "1", "2"]


def test_loads_of_a_model_share_its_references(runs: ClusterRuns, start_cluster: Any) -> None:
    modes = ("--mode", "default", "--mode", "prefix_cached")
    words = runs.build_words(start_cluster(num_cpus=2).address, *modes, models=MODELS[:1])
    _, output = finish(runs.start(words))
    run = load_run(runs.run_folder)
    assert {shard.name for shard in run.shards} == {"model-tiny_engine", "model-tiny_engine-prefix_cached"}
    assert len(run.verdicts) == 4
    captured = [line for line in output.splitlines() if "[model reference]" in line and "captured" in line]
    assert len(captured) == 2, output  # one for each case


def test_missing_resources_are_a_sentence(runs: ClusterRuns, start_cluster: Any) -> None:
    words = runs.build_words(start_cluster().address, "--load-gpus", "8", models=MODELS[:1])
    code, output = finish(runs.start(words))
    assert code == NOT_COMPARED
    assert "parity run: error: model-tiny_engine: no node has 1 CPUs, 8 GPUs, 0.1 GiB of memory; " in output
    assert "Traceback" not in output
    assert not runs.run_folder.exists()


def test_a_local_cluster_is_started(runs: ClusterRuns) -> None:
    fault = ("--engine-arg", "wrong logit text=true")
    code, output = finish(runs.start(runs.build_words("local", *fault, models=MODELS[:1])))
    run = load_run(runs.run_folder)
    assert code == FAILED, output
    assert {entry.verdict.case: entry.verdict.kind for entry in run.verdicts} == {
        "text": "mismatch",
        "image": "match",
    }
    assert not run.incomplete


def test_a_session_that_ends_early_is_named(runs: ClusterRuns) -> None:
    runs.clone.joinpath("cases/conftest.py").write_text(
        "import os\ndef pytest_runtest_setup(item):\n    print('out of luck', flush=True); os._exit(9)\n"
    )
    words = runs.build_words("local", models=MODELS[:1])
    code, output = finish(runs.start([*words, "--", "-s"]))
    assert code == NOT_COMPARED
    assert "model tiny_engine: its session ended with exit code 9: out of luck" in output
    log = runs.run_folder / "shards" / "model-tiny_engine" / "logs" / "session.log"
    assert "out of luck" in log.read_text()


def test_an_address_without_a_cluster_is_a_sentence(runs: ClusterRuns) -> None:
    code, output = finish(runs.start(runs.build_words("127.0.0.1:9", models=MODELS[:1])))
    assert code == NOT_COMPARED
    assert "parity run: error: --cluster 127.0.0.1:9: no cluster can be reached there: " in output
    assert not runs.run_folder.exists()
