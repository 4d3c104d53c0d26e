"""Two sessions in every pair of phases: on one shard, with one cache, and while one trims or clears it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import pytest

from tests.support.faults import invariants
from tests.support.faults.commands import PATIENCE_S, Command, Launcher, Process, build_run_words
from tests.support.faults.control import wait_until
from tests.support.faults.experiments import Scenario, remove
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.file_faults import PAUSE, Fault
from tests.support.faults.phases import PHASES, list_phases
from tests.support.faults.sandbox import AGAIN, GREEN, RED, RUN, Sandbox
from vlm_parity.util.exit_codes import USAGE

BLOCKED_S = 5.0
"""Seconds after which a session that neither reaches its phase nor ends is taken to wait for the other."""
RELEASED = ("report written", "run linked")
"""Phases in which a session has released its shard, so another one may replace it."""
CASES = {"cold": GREEN, "warm": GREEN, "red": RED}


@dataclass(frozen=True)
class Pair:
    """Two commands; each waits at its phase, and the first goes on first."""

    scenario: Scenario
    second: Command
    run: str
    """The run folder of the second command."""
    phase: str
    other_phase: str | None
    """None for a command that deletes what the session uses: its verdicts may be red."""

    def disturb(self, launcher: Launcher, *, kills: bool = False) -> list[str]:
        """Run both, or kill the second one at its phase; return what violates an invariant."""
        sandbox = self.scenario.copy()
        first = launcher.start(sandbox, _pause(self.scenario.command, self.phase))
        wait_until(lambda: first.control.has_acted or not first.is_running, PATIENCE_S)
        second = launcher.start(sandbox, _pause(self.second, self.other_phase))
        wait_until(lambda: second.control.has_acted or not second.is_running, BLOCKED_S)
        if kills and second.is_running:
            os.kill(second.pid, signal.SIGKILL)
            second.wait()
        first.control.resume()
        first.wait()
        second.control.resume()
        second.wait()
        violations = list(invariants.find_abrupt_ends(second))
        if kills:  # the first session had ended well, and the second one has replaced its shard
            run, undisturbed = sandbox.folder / RUN, self.scenario.undisturbed
            violations += invariants.find_unseen_passes(None, run, undisturbed)
        else:
            violations += self.scenario.check(first, sandbox)
        if kills or self.other_phase is None:
            violations += self.scenario.heal(sandbox)
        else:
            violations += self._find_differences(first, second, sandbox)
        remove(sandbox)
        return violations

    def _find_differences(self, first: Process, second: Process, sandbox: Sandbox) -> Iterator[str]:
        """Find differences from sessions that ran alone, one of which may have been refused."""
        runs = {first: RUN, second: self.run}
        if self.run == RUN:
            refused = first if self.phase in RELEASED else second
            del runs[refused]
            if refused is second and second.code != USAGE:
                yield f"the second session on the shard ended with {second.code}"
        for process, run in runs.items():
            yield from invariants.find_unhealed(process, sandbox.folder / run, self.scenario.undisturbed)


def _pause(command: Command, phase: str | None) -> Command:
    return replace(command, fault=Fault(PAUSE, pattern=PHASES[phase]) if phase is not None else None)


def test_every_phase_is_reached(scenarios: Callable[[str], Scenario]) -> None:
    assert list_phases(scenarios("cold").operations) == list(PHASES)


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", ["cold", "warm"])
def test_one_shard(
    name: str, share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios(name)
    pairs = list(product(list_phases(scenario.operations), repeat=2))
    for phase, other_phase in experiments.choose("two sessions, one shard", pairs, share, 23):
        pair = Pair(scenario, scenario.command, RUN, phase, other_phase)
        experiments.add(f"{name}: {phase}, {other_phase}", pair.disturb(launcher))
    experiments.verify()


def test_killed_while_another_publishes(
    scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios("warm")
    pairs = list(product(RELEASED, list_phases(scenario.operations)))
    kind = "a session killed while another one publishes the same shard"
    for phase, other_phase in experiments.choose(kind, pairs, 0, 5, shares=1):
        pair = Pair(scenario, scenario.command, RUN, phase, other_phase)
        experiments.add(f"{phase}, {other_phase}", pair.disturb(launcher, kills=True))
    experiments.verify()


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("trims", [False, True], ids=["kept", "trimmed"])
@pytest.mark.parametrize("name", ["cold", "red"])
def test_one_cache(
    name: str,
    trims: bool,
    share: int,
    scenarios: Callable[[str], Scenario],
    launcher: Launcher,
    experiments: Experiments,
) -> None:
    scenario = scenarios(name)
    variables = {"VLM_PARITY_CACHE_GB": "0"} if trims else {}
    second = Command(build_run_words(cases=CASES[name], run=AGAIN), variables=variables)
    pairs = list(product(list_phases(scenario.operations), repeat=2))
    kind = f"two sessions, one cache{' that one trims' if trims else ''}"
    for phase, other_phase in experiments.choose(kind, pairs, share, 29):
        pair = Pair(scenario, second, AGAIN, phase, other_phase)
        experiments.add(f"{name}: {phase}, {other_phase}", pair.disturb(launcher))
    experiments.verify()


@pytest.mark.parametrize("name", ["cold", "red"])
def test_cleared_cache(
    name: str, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios(name)
    phases = list_phases(scenario.operations)
    for phase in experiments.choose("a session whose cache is cleared", phases, 0, 4, shares=1):
        pair = Pair(scenario, Command(("cache", "--clear")), RUN, phase, None)
        experiments.add(f"{name}: {phase}", pair.disturb(launcher))
    experiments.verify()
