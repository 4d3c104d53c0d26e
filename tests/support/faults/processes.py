"""Processes of a sandbox: those whose working directory is in it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_SYSTEM = Path("/proc")


def find_processes(folder: Path) -> dict[int, str]:
    """Return the processes that work in a folder, this one excluded: the command line by process id.

    A process that has ended and waits for its parent has no working directory.
    """
    found = {}
    for entry in os.listdir(_SYSTEM):  # noqa: PTH208 - also called inside an audit hook, thousands of times
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if Path(os.readlink(_SYSTEM / entry / "cwd")).is_relative_to(folder):  # noqa: PTH115
                words = (_SYSTEM / entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry)] = words.decode(errors="replace").strip()
    return found


def kill_processes(folder: Path) -> None:
    """Kill every process that works in a folder, this one excluded."""
    for pid in find_processes(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for_processes(folder: Path, seconds: float) -> dict[int, str]:
    """Return the processes that still work in a folder after ``seconds``; return early if there is none."""
    deadline = time.monotonic() + seconds
    while (found := find_processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found
