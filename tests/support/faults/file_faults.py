"""Faults at file operations: an audit hook that numbers them, and acts at one of them.

Python reports each file operation to its audit hooks in advance, and an exception of a hook takes the place
of the operation, so nothing of the harness is patched. A forked process inherits the hook and shares the
counter: the operations of a session and of its workers are numbered together.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.faults.control import ACTED, COUNTER, COUNTER_BYTES, OPERATIONS, RESUME
from tests.support.faults.processes import kill_processes

MOMENT = "tiny_engine"
"""The audit event of the tiny engine; its argument is the moment."""
KILL, KILL_ALL, PAUSE = "kill", "kill all", "pause"
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CREATING = os.O_CREAT | os.O_TRUNC
_PATHS: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chmod": ((0, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
"""Events that change files: the argument of each path, and that of the folder descriptor it starts at."""
_EPHEMERAL = re.compile(r"(?<=\.)(\d+|[a-z0-9_]{8})(?=$| |\.draft|\.removed)")
"""A process id or the random part of a temporary name."""


@dataclass(frozen=True)
class Fault:
    """An action at one file operation, or from one on."""

    action: str
    """``kill``: kill the process. ``kill all``: and all others of the session. ``pause``: wait for
    ``Control.resume``. The name of an error number, such as ``ENOSPC``: fail the operation."""
    number: int | None = None
    """Number of the operation, from 0."""
    pattern: str | None = None
    """In place of a number: a regular expression for the description of the operation; the first match."""
    lasts: bool = False
    """True if all later operations fail, too."""


class FileFaults:
    """The audit hook of one session."""

    def __init__(self, sandbox: Path, control: Path, fault: Fault | None) -> None:
        """Install the hook, which stays until the process ends.

        Args:
            sandbox: operations elsewhere are not counted.
            control: folder of the session's ``Control``.
            fault: the fault, if any.
        """
        self._sandbox, self._control, self._fault = sandbox, control, fault
        self._counter = os.open(control / COUNTER, os.O_RDWR)
        self._operations = os.open(control / OPERATIONS, os.O_WRONLY | os.O_APPEND)
        self.descriptors = (self._counter, self._operations)
        """Stay open in forked workers."""
        self._is_busy = False
        self._number = 0
        """Of the latest operation."""
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_busy or (event not in _PATHS and event not in {"open", MOMENT}):
            return
        self._is_busy = True  # its own operations are none of the session's
        try:
            if event == MOMENT:
                self._reach(f"engine {arguments[0]}")
            elif event == "open":
                self._reach_open(*arguments)
            else:
                self._reach_change(event, arguments)
        finally:
            self._is_busy = False

    def _reach_open(self, name: Any, _: Any, flags: int) -> None:
        """Act before a file is opened for writing; if that creates or empties it, also after that."""
        path = None if isinstance(name, int) else self._locate(name)
        if path is None or not flags & _CHANGING:
            return
        self._reach(f"open {path}")
        if flags & _CREATING and self._is_due(f"empty {path}"):
            os.close(os.open(name, flags, 0o644))
            self._act()

    def _reach_change(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [
            self._locate(arguments[path], -1 if folder is None else arguments[folder])
            for path, folder in _PATHS[event]
        ]
        if any(paths):
            self._reach(f"{event.removeprefix('os.')} {' '.join(filter(None, paths))}")

    def _locate(self, name: Any, folder: int = -1) -> str | None:
        """Return a path relative to the sandbox; None if it is outside."""
        start = Path(os.readlink(f"/proc/self/fd/{folder}")) if folder >= 0 else Path.cwd()  # noqa: PTH115
        path = os.path.normpath(start / os.fsdecode(name))
        root = f"{self._sandbox}{os.sep}"
        return path.removeprefix(root) if path.startswith(root) else None

    def _reach(self, operation: str) -> None:
        if self._is_due(operation):
            self._act()

    def _is_due(self, operation: str) -> bool:
        """Assign the next number to an operation and return whether the fault happens at it."""
        described = _EPHEMERAL.sub("*", operation)
        fcntl.lockf(self._counter, fcntl.LOCK_EX)
        try:
            self._number = int.from_bytes(os.pread(self._counter, COUNTER_BYTES, 0), "little")
            os.pwrite(self._counter, (self._number + 1).to_bytes(COUNTER_BYTES, "little"), 0)
            os.write(self._operations, f"{described}\n".encode())
        finally:
            fcntl.lockf(self._counter, fcntl.LOCK_UN)
        fault = self._fault
        if fault is None:
            return False
        has_acted = (self._control / ACTED).exists()
        if has_acted:
            return fault.lasts
        if fault.number is not None:
            return self._number == fault.number
        return fault.pattern is not None and re.search(fault.pattern, described) is not None

    def _act(self) -> None:
        assert self._fault is not None
        action = self._fault.action
        acted = self._control / ACTED
        if not acted.exists():
            acted.with_suffix(".draft").write_text(str(self._number))
            acted.with_suffix(".draft").rename(acted)
        if action == PAUSE:
            while not (self._control / RESUME).exists():
                time.sleep(0.005)
        elif action in {KILL, KILL_ALL}:
            if action == KILL_ALL:
                kill_processes(self._sandbox)
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            number = getattr(errno, action)
            raise OSError(number, os.strerror(number), "injected by the test")
