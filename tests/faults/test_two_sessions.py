"""Two sessions in every pair of phases: on one shard, with one cache, and while one trims or clears it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pytest

from tests.support.faults import invariants
from tests.support.faults.commands import PATIENCE_S, Command, Launcher, build_run_words
from tests.support.faults.control import wait_until
from tests.support.faults.experiments import Scenario, remove
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.file_faults import PAUSE, Fault
from tests.support.faults.phases import PHASES, list_phases
from tests.support.faults.sandbox import AGAIN, GREEN, RED, RUN

BLOCKED_S = 5.0
"""Seconds after which a session that neither reaches its phase nor ends is taken to wait for the other."""
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

    def disturb(self, launcher: Launcher) -> list[str]:
        """Run both; return what violates an invariant."""
        sandbox = self.scenario.copy()
        pause = Fault(PAUSE, pattern=PHASES[self.phase])
        first = launcher.start(sandbox, replace(self.scenario.command, fault=pause))
        wait_until(lambda: first.control.has_acted or not first.is_running, PATIENCE_S)
        other_pause = Fault(PAUSE, pattern=PHASES[self.other_phase]) if self.other_phase else None
        second = launcher.start(sandbox, replace(self.second, fault=other_pause))
        wait_until(lambda: second.control.has_acted or not second.is_running, BLOCKED_S)
        first.control.resume()
        first.wait()
        second.control.resume()
        second.wait()
        undisturbed = self.scenario.undisturbed
        violations = [*self.scenario.check(first, sandbox), *invariants.find_abrupt_ends(second)]
        if self.other_phase is None:
            violations += self.scenario.heal(sandbox)
        else:
            violations += invariants.find_unhealed(first, sandbox.folder / RUN, undisturbed)
        if self.run != RUN:
            violations += invariants.find_unhealed(second, sandbox.folder / self.run, undisturbed)
        elif self.other_phase is not None and second.code == 0:
            violations.append("both sessions wrote one shard")
        remove(sandbox)
        return violations


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
