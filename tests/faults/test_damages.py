"""Damaged bytes in each kind of file at rest: in the cache, in a run, and in what users write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from tests.support.faults import invariants
from tests.support.faults.commands import Command, Launcher, Process
from tests.support.faults.damages import DAMAGES, FOLDER_DAMAGES, group_by_kind
from tests.support.faults.experiments import Scenario, remove
from tests.support.faults.figures import SHARES, Experiments
from tests.support.faults.sandbox import AGAIN, RUN, SHARD, Sandbox
from vlm_parity.util.exit_codes import USAGE

STEP = 13
REPORT = Command(("report", RUN, "--out", RUN))
STORED = re.compile(r"rename cache/reference/\S+ cache/reference/\w+$")
"""The operation that ends a capture of the reference."""
CACHE_FOLDERS = ("cache/reference", "cache/reference/*")
RUN_FOLDERS = tuple(f"{RUN}/shards/{SHARD}/{name}" for name in ("logs", "media", "traces", "verdicts"))
INPUTS = ("cases/conversations/", "cases/known_issues.toml", "model/")


@dataclass(frozen=True)
class Damage:
    """A damage to one file or folder of a kind."""

    kind: str
    name: str

    def inflict(self, sandbox: Sandbox) -> None:
        """Damage the first file of the kind."""
        path = next(path for path in sorted(sandbox.folder.glob(self.kind)) if path.name != "notes.txt")
        damages = DAMAGES if path.is_file() else FOLDER_DAMAGES
        damages[self.name](path)


REFUSED = {Damage("cache/reference", "a file"), Damage(f"{RUN}/report.json", "a folder")}
"""Damages that nothing can be written to: the command says so instead of removing what is not its own."""


def check_refusal(process: Process) -> Iterator[str]:
    """Find a command that did not end with a usage error."""
    if process.code != USAGE:
        yield f"it ended with {process.code}"


def list_damages(scenario: Scenario, prefixes: tuple[str, ...], folders: Iterable[str] = ()) -> list[Damage]:
    """Return every damage to every kind of file whose path has one of the prefixes, and to folders."""
    paths = (path for path in scenario.files if path.startswith(prefixes) and not path.endswith("notes.txt"))
    pairs = [*product(group_by_kind(paths), DAMAGES), *product(folders, FOLDER_DAMAGES)]
    return [Damage(*pair) for pair in pairs]


@pytest.mark.parametrize("share", range(SHARES))
def test_cache(
    share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios("red")
    damages = list_damages(scenario, ("cache/",), CACHE_FOLDERS)
    for damage in experiments.choose("a damaged file of the cache", damages, share, STEP):
        sandbox = scenario.copy()
        damage.inflict(sandbox)
        process = launcher.run(sandbox, scenario.command)
        violations = [*scenario.check(process, sandbox), *invariants.find_tracebacks(process)]
        if damage in REFUSED:
            violations += check_refusal(process)
        else:
            violations += invariants.find_unhealed(process, sandbox.folder / RUN, scenario.undisturbed)
        captures = sum(STORED.match(operation) is not None for operation in process.control.operations)
        if captures > 1 and damage.kind != "cache/reference":
            violations.append(f"one damaged entry cost {captures} captures")
        experiments.add(f"{damage.kind}, {damage.name}", violations)
        remove(sandbox)
    experiments.verify()


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", ["warm", "kept"])
def test_run(
    name: str, share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios(name)
    damages = list_damages(scenario, (f"{RUN}/shards/{SHARD}/", f"{RUN}/report.json"), RUN_FOLDERS)
    for damage in experiments.choose("a damaged file of a run", damages, share, STEP):
        sandbox = scenario.copy()
        damage.inflict(sandbox)
        process = launcher.run(sandbox, REPORT)
        violations = [
            *invariants.find_abrupt_ends(process),
            *invariants.find_tracebacks(process),
            *invariants.find_unseen_passes(process.code, sandbox.folder / RUN, scenario.undisturbed),
            *(check_refusal(process) if damage in REFUSED else scenario.heal(sandbox)),
        ]
        experiments.add(f"{name}: {damage.kind}, {damage.name}", violations)
        remove(sandbox)
    experiments.verify()


@pytest.mark.parametrize("share", range(SHARES))
def test_stored_traces(
    share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios("again")
    damages = list_damages(scenario, (f"{RUN}/shards/{SHARD}/traces/",), RUN_FOLDERS)
    for damage in experiments.choose("a damaged trace that is compared again", damages, share, STEP):
        sandbox = scenario.copy()
        damage.inflict(sandbox)
        process = launcher.run(sandbox, scenario.command)
        violations = [
            *invariants.find_abrupt_ends(process),
            *invariants.find_tracebacks(process),
            *invariants.find_unseen_passes(process.code, sandbox.folder / AGAIN, scenario.undisturbed),
        ]
        experiments.add(f"{damage.kind}, {damage.name}", violations)
        remove(sandbox)
    experiments.verify()


@pytest.mark.parametrize("share", range(SHARES))
def test_inputs(
    share: int, scenarios: Callable[[str], Scenario], launcher: Launcher, experiments: Experiments
) -> None:
    scenario = scenarios("warm")
    for damage in experiments.choose("a damaged input", list_damages(scenario, INPUTS), share, STEP):
        sandbox = scenario.copy()
        damage.inflict(sandbox)
        before = sandbox.describe_foreign_files()
        process = launcher.run(sandbox, scenario.command)
        violations = [
            *invariants.find_abrupt_ends(process),
            *invariants.find_tracebacks(process),
            *invariants.find_left_processes(sandbox),
            *invariants.find_foreign_changes(sandbox, before),
        ]
        experiments.add(f"{damage.kind}, {damage.name}", violations)
        remove(sandbox)
    experiments.verify()
