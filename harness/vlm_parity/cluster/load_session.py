"""One engine load on a node: a session of ``parity run`` in a child process, and its shard as bytes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT
from threading import Thread
from typing import IO

from vlm_parity.cluster.shard_archive import pack_shard
from vlm_parity.util.child_process import ChildProcess
from vlm_parity.util.errors import ClusterError
from vlm_parity.util.exit_codes import SESSION_FINISHED

_QUIET = ("-p", "no:terminal", "-p", "no:cacheprovider")
"""No output of pytest: the session prints its own progress."""
_POLL_INTERVAL_S = 0.1
"""Ray interrupts a task between two statements of Python, never in a system call."""
_MAX_LINES = 400
_MAX_LINE_LENGTH = 2000


@dataclass(frozen=True)
class LoadCommand:
    """Everything that a node needs to run a load."""

    shard: str
    words: tuple[str, ...]
    """Of ``parity run``, without its run folder."""
    pytest_words: tuple[str, ...]
    folder: str
    """Working directory, for relative paths in the words."""
    python: str | None = None
    """None for the Python of the task, which is that of its container image or environment."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables in addition to those of the node."""


@dataclass(frozen=True)
class LoadResult:
    """Result of a load that has run on a node."""

    exit_code: int
    """Of its session; negative for a signal."""
    archive: bytes
    """Its shard; see ``vlm_parity.cluster.shard_archive``."""
    output: bytes
    """The last lines that the session printed."""
    seconds: float

    @property
    def failure(self) -> str:
        """The reason why the session did not end normally; empty if it did."""
        if self.exit_code in SESSION_FINISHED:
            return ""
        last = self.output.decode(errors="replace").strip().rpartition("\n")[2]
        return f"its session ended with {_describe_exit(self.exit_code)}{last and f': {last}'}"


def run_load(command: LoadCommand, report: Callable[[str], object]) -> LoadResult:
    """Run a load and return its result; the session ends with this process, however that ends.

    Args:
        command: the load.
        report: called with each line that the session prints, in a thread.

    Raises:
        ClusterError: this machine lacks the working directory or the Python.
    """
    python = command.python or sys.executable
    _check_paths(Path(command.folder), Path(python))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vlm-parity-") as run:
        words = [python, "-m", "vlm_parity", "run", *command.words, "--run", run]
        exit_code, output = _run_session([*words, "--", *_QUIET, *command.pytest_words], command, report)
        archive = pack_shard(Path(run, "shards", command.shard))
    return LoadResult(exit_code, archive, output, time.monotonic() - start)


def _check_paths(folder: Path, python: Path) -> None:
    remedy = "every node needs it at the same path: use a shared file system, or one image for all nodes"
    if not folder.is_dir():
        raise ClusterError(f"{os.uname().nodename} has no folder {folder}; {remedy}")
    if not python.is_file():
        raise ClusterError(f"{os.uname().nodename} has no Python {python}; {remedy}")


def _run_session(
    words: list[str], command: LoadCommand, report: Callable[[str], object]
) -> tuple[int, bytes]:
    """Return the exit code and the last lines of the output."""
    lines: deque[str] = deque(maxlen=_MAX_LINES)

    def read(stream: IO[str]) -> None:
        for line in stream:
            text = line.rstrip("\n")[:_MAX_LINE_LENGTH]
            lines.append(text)
            report(text)

    process = ChildProcess(
        words,
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=command.folder,
        env={**os.environ, **command.variables, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        reader = Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            while process.poll() is None:
                time.sleep(_POLL_INTERVAL_S)
        finally:
            process.kill()
            reader.join()
    return process.returncode, "".join(f"{line}\n" for line in lines).encode()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
