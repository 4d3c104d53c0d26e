"""Signals in every phase: the session ends, its workers too, and an interrupted one writes its report."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import pytest

from tests.support.faults.commands import PATIENCE_S, Launcher
from tests.support.faults.control import wait_until
from tests.support.faults.experiments import Scenario, remove
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.file_faults import PAUSE, Fault
from tests.support.faults.phases import PHASES, list_phases
from tests.support.faults.sandbox import RUN
from vlm_parity.report.summary import INDEX_FILE

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
_WITH_REPORT = list(PHASES)[list(PHASES).index("reference starting") :]
"""Phases in which the shard has begun, so a signal that can be handled does not cost the report."""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", ["cold", "warm"])
def test_signal(
    name: str, share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios(name)
    pairs = list(product(list_phases(scenario.operations), SIGNALS))
    for phase, number in experiments.choose("a signal", pairs, share, 3):
        violations = disturb(scenario, launcher, phase, number)
        experiments.add(f"{name}: {phase}, {signal.Signals(number).name}", violations)
    experiments.verify()


def disturb(scenario: Scenario, launcher: Launcher, phase: str, number: signal.Signals) -> Iterator[str]:
    """Send a signal to a session in a phase; yield what violates an invariant."""
    sandbox = scenario.copy()
    pause = Fault(PAUSE, pattern=PHASES[phase])
    process = launcher.start(sandbox, replace(scenario.command, fault=pause))
    wait_until(lambda: process.control.has_acted or not process.is_running, PATIENCE_S)
    os.kill(process.pid, number)
    process.control.resume()
    process.wait()
    yield from scenario.check(process, sandbox)
    if (
        number != signal.SIGKILL
        and phase in _WITH_REPORT
        and not (sandbox.folder / RUN / INDEX_FILE).exists()
    ):
        yield "no report was written"
    yield from scenario.heal(sandbox)
    remove(sandbox)
