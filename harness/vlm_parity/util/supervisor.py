"""Program that runs a command, and ends all of its descendants with it or with the process that started it.

Run as ``python -I -S supervisor.py PARENT COMMAND ...`` by ``vlm_parity.util.child_process``, on Linux only.
It adopts the descendants that lose their parent, so those in sessions of their own end as well. It is a
process of its own, because a thread inside an engine ends with the engine, and waits while the engine holds
the interpreter's lock.

``SIGTERM``, ``SIGINT`` and ``SIGHUP`` are forwarded to the command. The exit status is the command's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

KILL_ALL = signal.SIGUSR1
"""Kills the command and all of its descendants at once."""
_FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = {*_FORWARDED, KILL_ALL, signal.SIGCHLD}
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h
_PARENT_INTERVAL_S = 0.2  # between two checks that the parent runs
_KILL_INTERVAL_S = 0.02  # between two rounds of killing
_TRACKER_GRACE_S = 2.0  # for Python's resource trackers to remove shared memory
_KILL_TIMEOUT_S = 10.0  # a process that waits for a device may not be killable
_TRACKER = b"multiprocessing.resource_tracker"
_CANNOT_RUN = 127  # as in a shell


class Supervisor:
    """Supervision of one command."""

    def __init__(self, parent: int, command: list[str]) -> None:
        """Start the command.

        Args:
            parent: process id of the process that started this one.
            command: program and arguments.
        """
        self._parent = parent
        self._status: int | None = None  # of the command, once it has ended
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, no child has an exit status
        call_prctl(_PR_SET_CHILD_SUBREAPER, 1)
        own = os.getpid()
        self._command = os.fork()
        if self._command == 0:
            _execute(own, command, mask)
        _close_files()  # the other ends of the command's pipes see when it closes them

    def run(self) -> int | None:
        """Wait until the command or the parent has ended, then kill the rest.

        Returns:
            The wait status of the command; None if it cannot be killed.
        """
        while self._status is None:
            received = signal.sigtimedwait(_WATCHED, _PARENT_INTERVAL_S)
            if os.getppid() != self._parent or (received and received.si_signo == KILL_ALL):
                break
            if received and received.si_signo in _FORWARDED:
                os.kill(self._command, received.si_signo)
            self._reap()
        self._kill_descendants()
        return self._status

    def _reap(self) -> bool:
        """Collect the children that have ended; return whether others remain."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._command:
                    self._status = ended[1]
        except ChildProcessError:
            return False
        return True

    def _kill_descendants(self) -> None:
        start = time.monotonic()
        while self._reap() and (elapsed := time.monotonic() - start) < _KILL_TIMEOUT_S:
            for pid in list_descendants(os.getpid()):
                if elapsed > _TRACKER_GRACE_S or not _may_be_resource_tracker(pid):
                    with suppress(ProcessLookupError, PermissionError):  # of another user: sudo
                        os.kill(pid, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, _KILL_INTERVAL_S)


def list_descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    children: dict[int, list[int]] = {}
    for child, parent in _list_parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    pending = [pid]
    while pending:
        started = children.get(pending.pop(), [])
        found += started
        pending += started
    return found


def _list_parents() -> Iterator[tuple[int, int]]:
    """Yield each process that runs, with its parent."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state not in b"ZX":
                    yield int(folder.name), int(parent)


def _may_be_resource_tracker(pid: int) -> bool:
    try:
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return not command_line or _TRACKER in command_line  # it is empty while a program is being started
    except (FileNotFoundError, ProcessLookupError):
        return False


def _execute(parent: int, command: list[str], mask: Iterable[int]) -> NoReturn:
    """Become the command, in a session of its own; the kernel kills it if the supervisor is killed."""
    os.setsid()
    call_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the supervisor ended before the call
        os._exit(_CANNOT_RUN)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
        os._exit(_CANNOT_RUN)


def call_prctl(option: int, value: int) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel does not know the option.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _close_files() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for descriptor in sorted(int(link.name) for link in Path("/proc/self/fd").iterdir())[3:]:
        with suppress(OSError):  # the one of the list itself
            os.close(descriptor)


def _exit_like(status: int | None) -> NoReturn:
    """End as a command with this wait status has ended, without another core dump."""
    if status is not None and os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = signal.SIGKILL if status is None else os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    _exit_like(Supervisor(int(sys.argv[1]), sys.argv[2:]).run())
