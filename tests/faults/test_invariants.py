"""The invariants detect what they are about: without these tests, the suite could pass for any reason."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.faults import invariants
from tests.support.faults.commands import Launcher, Process
from tests.support.faults.experiments import Scenario, remove
from tests.support.faults.file_faults import KILL_ALL, Fault
from tests.support.faults.sandbox import RUN, SHARD, Sandbox
from vlm_parity.report.html import REPORT_FILE
from vlm_parity.schema.record import read_record, write_record
from vlm_parity.schema.verdict import Verdict, VerdictKind


class Finished:
    """A session that has ended undisturbed, to be tampered with."""

    def __init__(self, scenario: Scenario, launcher: Launcher) -> None:
        self.scenario, self.sandbox = scenario, scenario.copy()
        self.before = self.sandbox.describe_foreign_files()
        self.process = launcher.run(self.sandbox, scenario.command)
        self.run = self.sandbox.folder / RUN
        self.verdict = self.run / "shards" / SHARD / "verdicts" / "model" / "tiny_engine" / "wrong.json"

    def find_unseen_passes(self) -> list[str]:
        return list(invariants.find_unseen_passes(self.process.code, self.run, self.scenario.undisturbed))


@pytest.fixture
def red(scenarios: Callable[[str], Scenario], launcher: Launcher) -> Iterator[Finished]:
    finished = Finished(scenarios("red"), launcher)
    yield finished
    remove(finished.sandbox)


@pytest.fixture
def green(scenarios: Callable[[str], Scenario], launcher: Launcher) -> Iterator[Finished]:
    finished = Finished(scenarios("warm"), launcher)
    yield finished
    remove(finished.sandbox)


def test_nothing_is_found_in_an_undisturbed_session(green: Finished, red: Finished) -> None:
    assert (green.process.code, red.process.code) == (0, 1)
    for finished in (green, red):
        assert list(finished.scenario.check(finished.process, finished.sandbox)) == []


def test_a_lost_verdict_is_found(red: Finished) -> None:
    red.verdict.unlink()
    lost = invariants.find_lost_verdicts(red.process, red.run, red.scenario.undisturbed)
    assert list(lost) == ["the verdict on model/tiny_engine/wrong was made and is lost"]


def test_a_mismatch_that_became_a_match_is_found(red: Finished) -> None:
    verdict = read_record(red.verdict, Verdict)
    write_record(red.verdict, verdict.model_copy(update={"kind": VerdictKind.MATCH}))
    assert red.find_unseen_passes() == ["model/tiny_engine/wrong passes as match, undisturbed: mismatch"]
    lost = invariants.find_lost_verdicts(red.process, red.run, red.scenario.undisturbed)
    assert list(lost) == ["the verdict on model/tiny_engine/wrong is match now"]


def test_a_run_that_passes_without_a_verdict_is_found(green: Finished) -> None:
    shard = green.run / "shards" / SHARD
    (shard / "verdicts" / "model" / "tiny_engine" / "image.json").unlink()
    record = shard / "shard.json"
    record.write_text(record.read_text().replace('"expected": 3', '"expected": 2'))
    found = green.find_unseen_passes()
    assert "the exit code is 0 with missing or other verdicts" in found
    assert "report.json passes with missing or other verdicts" in found


def test_a_stale_report_is_found(green: Finished) -> None:
    (green.run / "shards" / SHARD / "shard.json").unlink()
    green.verdict.with_name("image.json").unlink()
    assert "report.json passes with missing or other verdicts" in green.find_unseen_passes()
    (green.run / REPORT_FILE).unlink()
    assert green.find_unseen_passes() == ["the exit code is 0 with missing or other verdicts"]


def test_a_second_run_that_differs_is_found(green: Finished) -> None:
    green.verdict.with_name("image.json").unlink()
    found = invariants.find_unhealed(green.process, green.run, green.scenario.undisturbed)
    assert list(found) == ["the verdict on model/tiny_engine/image differs in the second run"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: path.unlink(), "home/notes.txt is gone"),
        (lambda path: path.write_text("else"), "home/notes.txt has changed"),
        (lambda path: path.with_name("more").touch(), "home/more is new"),
    ],
)
def test_a_change_outside_is_found(green: Finished, change: Callable[[Path], object], expected: str) -> None:
    change(green.sandbox.folder / "home" / "notes.txt")
    assert list(invariants.find_foreign_changes(green.sandbox, green.before)) == [expected]


def test_a_process_that_is_left_is_found(green: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "_EXIT_S", 0.1)
    process = subprocess.Popen(["sleep", "60"], cwd=green.sandbox.folder)
    try:
        found = list(invariants.find_left_processes(green.sandbox))
    finally:
        process.kill()
        process.wait()
    assert found == [f"process {process.pid} still runs: sleep 60"]


def test_a_traceback_and_a_hanging_command_are_found(
    scenarios: Callable[[str], Scenario], launcher: Launcher
) -> None:
    scenario = scenarios("cold")
    sandbox = scenario.copy()
    process = launcher.start(sandbox, replace(scenario.command, words=("no such command",)))
    process.wait()
    (process.control.folder / "output").write_text("Traceback (most recent call last):\n")
    assert [text[:27] for text in invariants.find_abrupt_ends(process)] == ["an exception was not caught"]
    assert [text[:23] for text in invariants.find_tracebacks(process)] == ["a traceback was printed"]
    pause = Fault("pause", number=0)
    hanging = launcher.start(sandbox, replace(scenario.command, fault=pause)).wait(seconds=0.5)
    assert list(invariants.find_abrupt_ends(hanging)) == ["the command did not end in time"]
    remove(sandbox)


def test_a_kill_happens_before_a_file_is_opened_or_while_it_is_empty(
    scenarios: Callable[[str], Scenario], launcher: Launcher
) -> None:
    scenario = scenarios("cold")
    number = next(
        number
        for number, operation in enumerate(scenario.operations)
        if operation.startswith("empty runs/run/")
    )
    for offset, expected in ((-1, False), (0, True)):
        sandbox = scenario.copy()
        _run_until(launcher, scenario, sandbox, number + offset)
        path = sandbox.folder / scenario.operations[number].split()[1]
        found = any(file.stat().st_size == 0 for file in path.parent.glob(f"{path.name}*") if file.is_file())
        assert found is expected, scenario.operations[number]
        remove(sandbox)


def _run_until(launcher: Launcher, scenario: Scenario, sandbox: Sandbox, number: int) -> Process:
    fault = Fault(KILL_ALL, number)
    process = launcher.run(sandbox, replace(scenario.command, fault=fault))
    assert process.code == -9
    return process
