"""The release gate, step by step: the first release, and a candidate that differs where it did not."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.workflows import list_run_steps, read_workflow
from tests.workflows.conftest import start_run, write_traces

NAME = "release_gate.yml"


def test_candidate_is_held_against_the_last_release(
    tmp_path: Path, checkout: Path, commands: Path, gh_state: Path
) -> None:
    release = start_run(NAME, tmp_path / "release", checkout, commands, write_traces(tmp_path / "good"))
    assert {result.failed_step for result in release.run_matrix("compare")} == {""}
    assert release.run_job("gate").failed_step == ""
    shutil.copytree(release.artifacts / "report", gh_state / "runs" / "1")
    (gh_state / "passed").write_text("1\n")

    worse = write_traces(tmp_path / "bad", [("vllm", "qwen2_vl")])
    candidate = start_run(NAME, tmp_path / "candidate", checkout, commands, worse)
    assert {result.failed_step for result in candidate.run_matrix("compare")} == {""}
    result = candidate.run_job("gate")
    assert result.failed_step == "Gate"
    assert "The gate fails: new difference: prefill" in result.output
    assert "two_images" in result.summary
    assert release.executed | candidate.executed == list_run_steps(read_workflow(NAME))
