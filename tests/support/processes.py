"""Processes of a test: the small server, and all that carry a mark, which every descendant inherits."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "MARK_OF_A_TEST"
"""The environment variable of the mark."""


def find_marked(mark: str) -> dict[int, str]:
    """Return the running processes with a mark: their command lines by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):  # it has ended
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = command
    return {pid: command for pid, command in found.items() if is_running(pid)}


def wait_until_gone(mark: str, seconds: float = 5.0) -> list[str]:
    """Return the command lines of the marked processes that still run after a time, if there are any."""
    deadline = time.monotonic() + seconds
    while (left := find_marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return list(left.values())


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(pid: int) -> bool:
    """Return whether a process ends within some seconds."""
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def build_tiny_server(port: int) -> list[str]:
    """Return the command line of the small server."""
    return [sys.executable, str(Path(__file__).with_name("tiny_server.py")), str(port)]
