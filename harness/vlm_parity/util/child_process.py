"""Child processes that end with this process, however it ends, together with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Timer
from typing import Any, TypeVar

from vlm_parity.util import supervisor

INTERRUPT_GRACE_S = 60.0
"""Seconds for an interrupted session to write its report."""
_running: set[ChildProcess] = set()
_interrupted = Event()
"""Set while ``run_in_threads`` ends its threads."""
Item = TypeVar("Item")
_IS_SUPERVISED = sys.platform == "linux"
"""Elsewhere, a child is only the leader of a process group, which ``kill`` kills."""


class ChildProcess(subprocess.Popen[Any]):
    """A command under supervision.

    ``pid`` is that of the supervisor, which has the command's exit code; see ``vlm_parity.util.supervisor``.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        """Start a command in a session of its own, so no signal of the terminal reaches it.

        Args:
            command: program and arguments.
            options: of ``subprocess.Popen``.
        """
        supervised = [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), *command]
        super().__init__(supervised if _IS_SUPERVISED else command, start_new_session=True, **options)

    def kill(self) -> None:
        """Kill the command and all of its descendants."""
        if _IS_SUPERVISED:
            self.send_signal(supervisor.KILL_ALL)
            return
        with suppress(ProcessLookupError):  # the whole group has ended already
            os.killpg(self.pid, signal.SIGKILL)


def terminate_with_parent() -> None:
    """Let the kernel send ``SIGTERM`` to this process when its parent ends; on Linux only."""
    if _IS_SUPERVISED:
        supervisor.call_prctl(supervisor.PR_SET_PDEATHSIG, signal.SIGTERM)


def run_child(
    command: Sequence[str],
    *,
    check: bool = False,
    capture_output: bool = False,
    timeout: float | None = None,
    grace: float = 0.0,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command under supervision and wait for its end, as ``subprocess.run`` does.

    Args:
        command: program and arguments.
        check: raise an error if the exit code is not 0.
        capture_output: capture both streams.
        timeout: seconds.
        grace: seconds that the command gets to end by itself after a timeout or an interrupt.
        options: of ``subprocess.Popen``.

    Raises:
        subprocess.CalledProcessError: ``check`` is True, and the exit code is not 0.
        subprocess.TimeoutExpired: the command took longer than ``timeout``.
        KeyboardInterrupt: as ``run_in_threads``.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if capture_output else {}
    with ChildProcess(command, **streams, **options) as process:
        _running.add(process)
        try:
            _check_interrupted()
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            _end(process, grace)
            raise
        finally:
            _running.discard(process)
    _check_interrupted()
    if check and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output, errors)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run_in_threads(function: Callable[[Item], object], items: Iterable[Item], jobs: int) -> None:
    """Call a function on each item in threads; an interrupt or an error of one ends the others.

    In these, ``run_child`` terminates its command and raises ``KeyboardInterrupt``.

    Args:
        function: waits for nothing but its children.
        items: arguments of the calls.
        jobs: number of threads.
    """
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            for _ in pool.map(function, items):
                pass
        except BaseException:
            _interrupted.set()
            for process in tuple(_running):
                process.terminate()
            killer = Timer(INTERRUPT_GRACE_S, _kill_running)
            killer.start()
            try:
                pool.shutdown(cancel_futures=True)
            finally:
                killer.cancel()
                _interrupted.clear()
            raise


def _kill_running() -> None:
    for process in tuple(_running):
        process.kill()


def _check_interrupted() -> None:
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _end(process: ChildProcess, grace: float) -> None:
    try:
        if grace:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # it is killed below
                process.wait(grace)
    finally:
        process.kill()
