"""Experiments: a fault in a fresh sandbox, the invariants afterwards, and a second run that heals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from tests.support.faults import invariants
from tests.support.faults.commands import Command, Launcher, Process
from tests.support.faults.invariants import Undisturbed, read_verdicts
from tests.support.faults.sandbox import RUN, SHARD, Sandbox


class Scenario:
    """A sandbox in a certain state, and a command that runs in copies of it."""

    def __init__(
        self, name: str, sandbox: Sandbox, command: Command, launcher: Launcher, folder: Path, run: str = RUN
    ) -> None:
        """Run the command undisturbed.

        Args:
            name: for messages.
            sandbox: the state from which every experiment starts; it stays unchanged.
            command: the command.
            launcher: starts it.
            folder: for the copies.
            run: the run folder that the command writes.
        """
        self.name, self.command, self._run = name, command, run
        self._sandbox, self._launcher, self._folder = sandbox, launcher, folder
        self._numbers = count()
        self._foreign_files = sandbox.describe_foreign_files()
        copy = self.copy()
        run_folder = copy.folder / run
        had_shard = (run_folder / "shards" / SHARD).exists()
        process = launcher.run(copy, command)
        self.operations = process.control.operations
        self.files = [str(file.relative_to(copy.folder)) for file in copy.folder.rglob("*") if file.is_file()]
        self.undisturbed = Undisturbed(process.code, read_verdicts(run_folder), had_shard)
        violations = [
            *invariants.find_foreign_changes(copy, self._foreign_files),
            *invariants.find_left_processes(copy),
            *invariants.find_tracebacks(process),
        ]
        assert not violations, violations
        assert self.undisturbed.verdicts, process.output
        remove(copy)

    def copy(self) -> Sandbox:
        """Return a copy of the sandbox."""
        return self._sandbox.copy(self._folder / f"{self.name}-{next(self._numbers)}")

    def disturb(self, command: Command) -> list[str]:
        """Run a command with a fault, then without; return what violates an invariant."""
        sandbox = self.copy()
        process = self._launcher.run(sandbox, command)
        violations = [*self.check(process, sandbox), *self.heal(sandbox)]
        remove(sandbox)
        return violations

    def check(self, process: Process, sandbox: Sandbox) -> Iterator[str]:
        """Yield what violates an invariant after a command with a fault."""
        run = sandbox.folder / self._run
        yield from invariants.find_left_processes(sandbox)
        yield from invariants.find_lost_verdicts(process, run, self.undisturbed)
        yield from invariants.find_unseen_passes(process.code, run, self.undisturbed)
        yield from invariants.find_foreign_changes(sandbox, self._foreign_files)
        yield from invariants.find_abrupt_ends(process)

    def heal(self, sandbox: Sandbox) -> Iterator[str]:
        """Run the command without a fault; yield what differs from an undisturbed run."""
        process = self._launcher.run(sandbox, replace(self.command, fault=None))
        yield from invariants.find_unhealed(process, sandbox.folder / self._run, self.undisturbed)
        yield from invariants.find_foreign_changes(sandbox, self._foreign_files)


def remove(sandbox: Sandbox) -> None:
    """Remove a sandbox of which nothing is needed any more."""
    shutil.rmtree(sandbox.folder)
