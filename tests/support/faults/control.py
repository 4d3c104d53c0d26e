"""The channel between a test and its session: a folder outside of the sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

COUNTER, OPERATIONS, ACTED, RESUME = "counter", "operations", "acted", "resume"
COUNTER_BYTES = 8


class Control:
    """The test's end of the channel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / COUNTER).write_bytes(bytes(COUNTER_BYTES))
        (folder / OPERATIONS).touch()

    @property
    def operations(self) -> list[str]:
        """The descriptions of the file operations of the session and its workers so far."""
        return (self.folder / OPERATIONS).read_text().splitlines()

    @property
    def has_acted(self) -> bool:
        """True if the fault has happened."""
        return (self.folder / ACTED).exists()

    @property
    def acted_at(self) -> int | None:
        """The number of the operation at which the fault happened first."""
        return int((self.folder / ACTED).read_text()) if self.has_acted else None

    def resume(self) -> None:
        """End the pause of the session."""
        (self.folder / RESUME).touch()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; return False if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
