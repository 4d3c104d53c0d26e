"""Progress of a session while engines load and run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.terminal import print_text
from vlm_parity.util.text import escape_terminal


class ProgressReporter:
    """Reports the captures of a session."""

    def __init__(
        self, console: Console, capture_disabled: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Report to a console.

        Args:
            console: where the lines go.
            capture_disabled: returns a context in which printed text reaches the user: pytest captures
                output while tests run.
        """
        self._console = console
        self._capture_disabled = capture_disabled

    @contextmanager
    def track_capture(self, title: str, total: int) -> Iterator[CaptureProgress]:
        """Show the capture of ``total`` cases by one engine."""
        with self._capture_disabled():
            if not self._console.is_terminal:
                yield _Lines(self._console, title, total)
                return
            description = TextColumn("{task.description}", markup=False)
            columns = (SpinnerColumn(), description, BarColumn(), MofNCompleteColumn())
            with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
                yield _Bar(progress, title, total)

    def report(self, text: str) -> None:
        """Print one plain line."""
        with self._capture_disabled():
            print_text(self._console, text)


class CaptureProgress:
    """Progress of one engine through its cases."""

    def report_load(self, seconds: float) -> None:
        """Report that the engine is ready."""

    def report_result(self, case: str, result: str) -> None:
        """Report that a case has its trace and, if it is compared at once, its verdict."""

    def add_case(self) -> None:
        """Report that a case needs one more pass."""


class _Lines(CaptureProgress):
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total, self._done = console, title, total, 0
        self._print("loading")

    def report_load(self, seconds: float) -> None:
        self._print(f"loaded in {seconds:.1f} s")

    def report_result(self, case: str, result: str) -> None:
        self._done += 1
        self._print(f"{self._done}/{self._total} {case}: {result}")

    def add_case(self) -> None:
        self._total += 1

    def _print(self, text: str) -> None:
        print_text(self._console, f"[{self._title}] {text}")


class _Bar(CaptureProgress):
    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress, self._title, self._total = progress, title, total
        self._task = progress.add_task(escape_terminal(f"{title}: loading"), total=total)

    def report_load(self, seconds: float) -> None:
        self._update(f"loaded in {seconds:.0f} s", 0)

    def report_result(self, case: str, result: str) -> None:
        self._update(f"{case} {result}", 1)

    def add_case(self) -> None:
        self._total += 1
        self._progress.update(self._task, total=self._total)

    def _update(self, text: str, cases: int) -> None:
        description = escape_terminal(f"{self._title}: {text}")
        self._progress.update(self._task, advance=cases, description=description)


def format_verdict(verdict: Verdict) -> str:
    """Return a verdict for a progress line: ``match``, ``mismatch at vision``."""
    return f"{verdict.kind} at {verdict.first_divergence}" if verdict.first_divergence else verdict.kind
