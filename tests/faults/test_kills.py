"""Killed at every file operation: the process that does it, or the session and its workers at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.faults.experiments import Scenario
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.file_faults import KILL, KILL_ALL, Fault

STEP = 29


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", ["cold", "warm", "kept"])
def test_killed_at_a_file_operation(
    name: str, share: int, scenarios: Callable[[str], Scenario], experiments: Experiments
) -> None:
    scenario = scenarios(name)
    faults = [
        Fault(action, number) for number in range(len(scenario.operations)) for action in (KILL, KILL_ALL)
    ]
    for fault in experiments.choose(f"killed at a file operation, {name}", faults, share, STEP):
        violations = scenario.disturb(replace(scenario.command, fault=fault))
        experiments.add(
            f"{fault.action} at {fault.number}, {scenario.operations[fault.number or 0]}", violations
        )
    experiments.verify()
