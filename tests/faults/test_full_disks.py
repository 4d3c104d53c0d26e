"""Full and read-only disks: operations that fail once or from then on, and files that cannot grow."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.faults.experiments import Scenario
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.file_faults import Fault

SIZES = (0, 1, 100, 1000, 3000, 10_000, 30_000)
"""Bytes that a file can have; the arrays of a trace have more than 10,000."""
PYTESTS_OWN = "open temporary"
"""The files in which pytest captures output: it cannot start on a disk that is full from then on."""
WRITING = re.compile(r"open|mkdir|link|symlink|rename")
"""Operations that need space, or fail in a read-only file system."""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", ["cold", "warm"])
def test_operation_fails(
    name: str, share: int, scenarios: Callable[[str], Scenario], experiments: Experiments
) -> None:
    scenario = scenarios(name)
    faults = [
        Fault(error, number, lasts=lasts)
        for number, operation in enumerate(scenario.operations)
        if WRITING.match(operation)
        for error, lasts in (("ENOSPC", False), ("ENOSPC", True), ("EROFS", True), ("EACCES", False))
        if not (lasts and operation == PYTESTS_OWN)
    ]
    for fault in experiments.choose(f"a file operation fails, {name}", faults, share, 37):
        violations = scenario.disturb(replace(scenario.command, fault=fault))
        lasts = " and all later ones" if fault.lasts else ""
        operation = scenario.operations[fault.number or 0]
        experiments.add(f"{fault.action} at {fault.number}, {operation}{lasts}", violations)
    experiments.verify()


@pytest.mark.parametrize("name", ["cold", "warm"])
def test_files_cannot_grow(name: str, scenarios: Callable[[str], Scenario], experiments: Experiments) -> None:
    scenario = scenarios(name)
    for size in experiments.choose(f"files cannot grow, {name}", SIZES, 0, 1, shares=1):
        violations = scenario.disturb(replace(scenario.command, largest_file=size))
        experiments.add(f"files of {size} bytes", violations)
    experiments.verify()
