"""The smoke test of a pull request, step by step."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.workflows import list_run_steps, read_workflow
from tests.workflows.conftest import start_run, write_traces

NAME = "pull_request.yml"


def test_difference_and_lost_shard_fail(tmp_path: Path, checkout: Path, commands: Path) -> None:
    run = start_run(NAME, tmp_path / "good", checkout, commands, write_traces(tmp_path / "traces"))
    assert run.run_job("checks").failed_step == ""
    assert {result.failed_step for result in run.run_matrix("smoke")} == {""}
    assert run.run_job("report").failed_step == ""
    assert run.executed == list_run_steps(read_workflow(NAME))

    bad = write_traces(tmp_path / "bad traces", [("lmdeploy", "qwen2_vl")])
    differing = start_run(NAME, tmp_path / "bad", checkout, commands, bad)
    differing.run_job("smoke", {"backend": "lmdeploy"})
    result = differing.run_job("report")
    assert result.failed_step.startswith("Merge the shards")
    assert "Shard vllm is missing: its session wrote nothing." in result.output

    shutil.copytree(run.artifacts / "run-vllm", differing.artifacts / "run-vllm")
    assert "1 of 8 comparisons differs" in differing.run_job("report").output
