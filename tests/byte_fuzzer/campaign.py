"""A campaign: every target gets its share of the time, some of them at once, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tests.byte_fuzzer.findings import write_finding
from tests.byte_fuzzer.oracle import Outcome, Reading
from tests.byte_fuzzer.target import Target
from tests.byte_fuzzer.worker import ARTIFACTS, CORPUS, COUNTS, HANG_S, fuzz

_LEAST_S = 1.0
"""A process is not started again for less."""
_GRACE_S = 2 * HANG_S
_FAILED = 3
"""Exit code of a process that could not fuzz."""
_COVERAGE = re.compile(rb"cov: (\d+)")


@dataclass
class Task:
    """The fuzzing of one target."""

    target: Target
    folder: Path
    left: float
    """Seconds."""
    seed: int
    process: int | None = None
    started: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """Number of inputs that were read."""
        return sum(self.counts.values())

    @property
    def coverage(self) -> int:
        """Number of covered edges that the last process counted."""
        found = _COVERAGE.findall((self.folder / "log").read_bytes())
        return int(found[-1]) if found else 0


class Campaign:
    """The fuzzing of several targets."""

    def __init__(
        self, targets: Sequence[Target], folder: Path, findings: Path, seconds: float, workers: int, seed: int
    ) -> None:
        """Prepare the folders of all targets.

        Args:
            targets: the targets.
            folder: for the work; corpora in it are used again.
            findings: for the findings.
            seconds: time for all of them.
            workers: number of processes at once.
            seed: of the mutations.
        """
        self._findings, self._workers = findings, workers
        share = seconds * workers / len(targets)
        self.tasks = [Task(target, folder / target.name, share, seed) for target in targets]
        for task in self.tasks:
            _prepare(task)

    def run(self) -> None:
        """Fuzz until the time of every target is used up."""
        waiting = list(self.tasks)
        running: list[Task] = []
        while waiting or running:
            while waiting and len(running) < self._workers:
                running.append(waiting.pop(0))
                self._start(running[-1])
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                self._kill_hanging(running)
                time.sleep(0.02)
                continue
            task = next(task for task in running if task.process == pid)
            running.remove(task)
            self._finish(task, os.waitstatus_to_exitcode(status))
            if task.left > _LEAST_S:
                waiting.insert(0, task)

    def _start(self, task: Task) -> None:
        task.started = time.monotonic()
        sys.stdout.flush()
        task.process = os.fork()
        if task.process:
            return
        try:
            log = os.open(task.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            fuzz(task.target, task.folder, self._findings, task.left, task.seed)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(_FAILED)  # libFuzzer ends the process itself

    def _finish(self, task: Task, code: int) -> None:
        elapsed = time.monotonic() - task.started
        task.left -= elapsed
        task.seconds += elapsed
        task.seed += 1
        counts = task.folder / COUNTS
        if counts.exists():
            for name, count in json.loads(counts.read_text()).items():
                task.counts[name] = task.counts.get(name, 0) + count
            counts.unlink()
        for artifact in sorted((task.folder / ARTIFACTS).iterdir()):
            kind = artifact.name.partition("-")[0]
            reading = Reading(
                Outcome.FINDING, f"{kind} with exit code {code}", _read_tail(task.folder / "log")
            )
            write_finding(self._findings, task.target, artifact.read_bytes(), reading)
            task.counts[Outcome.FINDING] = task.counts.get(Outcome.FINDING, 0) + 1
            artifact.unlink()
        if code:
            task.left = min(task.left, 0) if not task.inputs else task.left
            reading = Reading(Outcome.FINDING, f"exit code {code}", _read_tail(task.folder / "log"))
            write_finding(self._findings, task.target, b"", reading)

    def _kill_hanging(self, running: list[Task]) -> None:
        for task in running:
            if time.monotonic() - task.started > task.left + _GRACE_S and task.process:
                os.kill(task.process, signal.SIGKILL)


def _prepare(task: Task) -> None:
    workspace = task.folder / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    task.target.prepare(workspace)
    for name in (CORPUS, ARTIFACTS):
        (task.folder / name).mkdir(exist_ok=True)
    (task.folder / "log").write_bytes(b"")
    (task.folder / COUNTS).unlink(missing_ok=True)
    for content in _list_seeds(task.target, workspace):
        (task.folder / CORPUS / sha256(content).hexdigest()[:16]).write_bytes(content)


def _list_seeds(target: Target, workspace: Path) -> Iterator[bytes]:
    yield (workspace / target.file).read_bytes()
    yield from target.seeds()


def _read_tail(log: Path) -> str:
    return log.read_bytes()[-4000:].decode(errors="replace")
