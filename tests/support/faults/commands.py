"""Commands of the harness as forked processes in a sandbox, with the tiny engine on both sides."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

from tests.support.faults.control import Control
from tests.support.faults.file_faults import Fault, FileFaults
from tests.support.faults.forked_worker import fork_workers
from tests.support.faults.processes import kill_processes
from tests.support.faults.sandbox import GREEN, RUN, SHARD, Sandbox
from tests.support.faults.streams import open_standard_streams
from vlm_parity.cli.main import main
from vlm_parity.report import contradictions
from vlm_parity.session import references

BACKEND = "tiny_engine"
PATIENCE_S = 60.0
"""Seconds until a command counts as hanging; it takes one on an idle machine."""
_ROOT = Path(__file__).parents[3]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.support.faults.preloaded"])


@dataclass(frozen=True)
class Command:
    """A command of the harness with a fault."""

    words: tuple[str, ...]
    fault: Fault | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    largest_file: int | None = None
    """Bytes; to write beyond them fails."""
    forks_workers: bool = True
    """False to start workers as usual, but without the audit hook."""


def build_run_words(
    *more: str, cases: tuple[str, ...] = GREEN, run: str = RUN, shard: str = SHARD
) -> tuple[str, ...]:
    """Return the words of ``parity run``; the cases ``known`` and ``wrong`` differ at prefill."""
    selected = (word for case in cases for word in ("--case", case))
    wrong = (word for case in ("known", "wrong") for word in ("--engine-arg", f"wrong logit {case}=true"))
    fixed = ("--backend", BACKEND, "--model", "model", "--run", run, "--shard", shard)
    return (
        "run",
        "cases",
        *fixed,
        *selected,
        *wrong,
        *more,
        "--",
        "-q",
        "--tb=native",
        "-p",
        "no:cacheprovider",
    )


class Process:
    """A command that has been started."""

    def __init__(self, sandbox: Sandbox, command: Command, site: Path, control: Control) -> None:
        self.sandbox, self.command, self.control = sandbox, command, control
        self.hung = False
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.getenv("PYTHONPATH")])])
        with patch.dict(os.environ, PYTHONPATH=path):  # for the modules that the server imports
            forkserver.ensure_running()
        arguments = (sandbox.folder, command, site, control.folder)
        self._process = _SERVER.Process(target=_run_command, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False after its end."""
        return self._process.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    @property
    def output(self) -> str:
        """Its output so far."""
        path = self.control.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, seconds: float = PATIENCE_S) -> Process:
        """Wait for its end; if it takes longer, kill it and its workers, and note that it ``hung``."""
        self._process.join(seconds)
        if self.is_running:
            self.hung = True
            self._process.kill()
            kill_processes(self.sandbox.folder)
            self._process.join()
        return self


class Launcher:
    """Starts commands."""

    def __init__(self, site: Path, folder: Path) -> None:
        """Prepare to start commands.

        Args:
            site: the folder in which the tiny engine is installed.
            folder: for outputs and messages, outside of all sandboxes.
        """
        self._site, self._folder, self._numbers = site, folder, count(1)

    def start(self, sandbox: Sandbox, command: Command) -> Process:
        """Start a command."""
        control = Control(self._folder / f"command-{next(self._numbers)}")
        return Process(sandbox, command, self._site, control)

    def run(self, sandbox: Sandbox, command: Command) -> Process:
        """Run a command to its end."""
        return self.start(sandbox, command).wait()


def _run_command(folder: Path, command: Command, site: Path, control: Path) -> None:
    """Run the command in this process, a fork of the server."""
    os.setsid()
    os.chdir(folder)
    _redirect(control / "output")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(site))
    os.environ.update(_build_environment(folder, site), **command.variables)
    faults = FileFaults(folder, control, command.fault)
    if command.forks_workers:
        fork_workers(faults.descriptors)
    if command.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.largest_file, command.largest_file))
    with patch.object(references, "REFERENCE_BACKEND", BACKEND), accept_reference():
        sys.exit(main(command.words))


def accept_reference() -> AbstractContextManager[object]:
    """Return a context in which the report accepts the tiny engine as a reference."""
    return patch.object(contradictions, "REFERENCES", frozenset({BACKEND}))


def _build_environment(folder: Path, site: Path) -> dict[str, str]:
    path = [str(site), str(_ROOT), *filter(None, [os.getenv("PYTHONPATH")])]
    return {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "temporary"),
        "VLM_PARITY_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def _redirect(output: Path) -> None:
    """Send what this process prints to a file."""
    source = os.open(os.devnull, os.O_RDONLY)
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, standard in ((target, 1), (target, 2), (source, 0)):  # the server has closed its input
        os.dup2(descriptor, standard)
    open_standard_streams()
