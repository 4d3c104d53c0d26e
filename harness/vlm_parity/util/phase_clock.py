"""Account of wall time in which every second belongs to one phase."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PhaseClock:
    """Assigns wall time to phases, so that they add up to all of it.

    While phases are nested, time belongs to the innermost one.
    """

    def __init__(self, rest: str, now: Callable[[], float] = time.perf_counter) -> None:
        """Start the clock.

        Args:
            rest: the phase of all time outside ``measure``.
            now: returns a time in seconds.
        """
        self._now = now
        self._mark = now()
        self._phases = [rest]
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Assign the time spent in the block to a phase."""
        self._assign()
        self._phases.append(phase)
        try:
            yield
        finally:
            self._assign()
            self._phases.pop()

    def move(self, phase: str, seconds: float) -> None:
        """Move time from the current phase to another one, which a child process has measured within it.

        Args:
            phase: the phase that the time belongs to.
            seconds: no more than the current phase has is moved.
        """
        self._assign()
        moved = min(seconds, self._seconds[self._phases[-1]])
        self._seconds[self._phases[-1]] -= moved
        self._seconds[phase] += moved

    def read(self) -> dict[str, float]:
        """Return the seconds of each phase; their sum is the time since the start of the clock."""
        self._assign()
        return dict(self._seconds)

    def _assign(self) -> None:
        now = self._now()
        self._seconds[self._phases[-1]] += now - self._mark
        self._mark = now
