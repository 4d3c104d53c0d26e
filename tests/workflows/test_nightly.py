"""The nightly workflow, step by step: a green night, then a regression, an improvement, and a lost shard."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.workflows import JobResult, WorkflowRun, list_run_steps, read_workflow
from tests.workflows.conftest import start_run, write_traces

NAME = "nightly.yml"


@dataclass(frozen=True)
class Nights:
    """The report jobs of four nights."""

    first: JobResult
    regressed: JobResult
    improved: JobResult
    lost: JobResult
    compared: tuple[JobResult, ...]
    """The jobs of the matrix."""
    issue: str
    """The issue after both nights that failed."""
    regressed_report: Path
    executed: set[tuple[str, str]]


def run_night(run: WorkflowRun) -> list[JobResult]:
    """Run the jobs in front of the report."""
    return [run.run_job("timings"), *run.run_matrix("compare")]


def accept(run: WorkflowRun, gh_state: Path) -> None:
    """Let a night be the last one that passed."""
    shutil.rmtree(gh_state / "runs", ignore_errors=True)
    shutil.copytree(run.artifacts / "report", gh_state / "runs" / "1")
    (gh_state / "passed").write_text("1\n")


@pytest.fixture(scope="module")
def nights(
    tmp_path_factory: pytest.TempPathFactory, checkout: Path, commands: Path, gh_state: Path
) -> Nights:
    """Run four nights, each but the first behind the baseline of a green one."""
    folder = tmp_path_factory.mktemp("nights")
    good = write_traces(folder / "good")
    bad = write_traces(folder / "bad", [("vllm", "qwen3_vl")])

    def start(name: str, traces: Path) -> WorkflowRun:
        return start_run(NAME, folder / name, checkout, commands, traces)

    green = start("green", good)
    compared = run_night(green)
    first = green.run_job("report")
    accept(green, gh_state)

    red = start("red", bad)
    shutil.copytree(green.artifacts, red.artifacts)
    shutil.rmtree(red.artifacts / "run-vllm-2")  # the share of the model that differs now
    compared.append(red.run_job("compare", {"backend": "vllm", "share": 2}))
    regressed = red.run_job("report")
    red.run_job("issue")

    incomplete = start("incomplete", good)
    shutil.copytree(green.artifacts, incomplete.artifacts)
    shutil.rmtree(incomplete.artifacts / "run-vllm-2")
    lost = incomplete.run_job("report")
    incomplete.run_job("issue")

    accept(red, gh_state)
    better = start("better", good)
    shutil.copytree(green.artifacts, better.artifacts)
    improved = better.run_job("report")

    executed = green.executed | red.executed | incomplete.executed | better.executed
    issue = (gh_state / "issue.md").read_text()
    report = red.artifacts / "report"
    return Nights(first, regressed, improved, lost, tuple(compared), issue, report, executed)


def find_sentence(result: JobResult) -> str:
    (line,) = (line for line in result.output.splitlines() if line.startswith("The gate "))
    return line


def test_every_step_was_executed(nights: Nights) -> None:
    assert nights.executed == list_run_steps(read_workflow(NAME))


def test_jobs_of_the_matrix_pass_also_if_something_differs(nights: Nights) -> None:
    assert {result.failed_step for result in nights.compared} == {""}
    assert any("1 of 2 comparisons differs" in result.output for result in nights.compared)
    assert any("no engine load, so nothing is compared" in result.output for result in nights.compared)


def test_first_night_is_its_own_baseline(nights: Nights) -> None:
    assert nights.first.failed_step == ""
    assert "::notice::no night has passed yet" in nights.first.output
    assert find_sentence(nights.first).startswith("The gate passes: 8 unchanged")


def test_regression_behind_a_green_baseline_fails_with_one_line_that_names_it(nights: Nights) -> None:
    assert nights.regressed.failed_step == "Gate"
    assert find_sentence(nights.regressed) == (
        "The gate fails: new difference: prefill (logits of single tokens differ): two_images · qwen3_vl · "
        "vllm (differs at prefill)."
    )
    assert "::error title=parity gate%3A new difference::" in nights.regressed.output
    assert "two_images" in nights.regressed.summary


def test_the_report_begins_with_the_changes_and_has_the_trends(nights: Nights) -> None:
    index = (nights.regressed_report / "index.html").read_text(encoding="utf-8")
    assert "1 new difference, 7 unchanged" in index.partition("<main>")[2].partition("</section>")[0]
    assert "One run" in (nights.regressed_report / "trends" / "trends.html").read_text(encoding="utf-8")


def test_improvement_passes(nights: Nights) -> None:
    assert nights.improved.failed_step == ""
    assert find_sentence(nights.improved).startswith("The gate passes: 1 fixed")


def test_lost_shard_fails_and_is_named(nights: Nights) -> None:
    assert nights.lost.failed_step == "Gate"
    assert "shard vllm-2-of-3 is missing: 2 comparisons (qwen3_vl vllm)" in nights.lost.output


def test_issue_is_opened_once_and_updated(nights: Nights) -> None:
    assert nights.issue.count("The gate fails") == 2
    assert "new difference" in nights.issue
    assert "vllm-2-of-3 is missing" in nights.issue
