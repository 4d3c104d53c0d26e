"""Progress of all loads of a run on a cluster: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from vlm_parity.util.terminal import print_text
from vlm_parity.util.text import escape_terminal


class ClusterProgress:
    """Progress of a run, as plain lines."""

    def __init__(self, console: Console, total: int) -> None:
        """Report to a console.

        Args:
            console: where the lines go.
            total: number of loads.
        """
        self._console, self._total, self._done = console, total, 0

    def report_line(self, load: str, node: str, line: str) -> None:
        """Report a line of the session of a load."""
        print_text(self._console, f"{load} on {node}: {line}")

    def report_note(self, text: str) -> None:
        """Report something about the cluster."""
        print_text(self._console, text, "yellow")

    def report_end(self, load: str, outcome: str) -> None:
        """Report that the shard of a load is in the run folder."""
        self._done += 1
        print_text(self._console, f"{self._done}/{self._total} {load}: {outcome}", "bold")


class _Table(ClusterProgress):
    """The same as rows: each running load with its last line, then all of them together."""

    def __init__(self, console: Console, total: int, progress: Progress) -> None:
        super().__init__(console, total)
        self._progress = progress
        self._all = progress.add_task("engine loads", total=total)
        self._rows: dict[str, TaskID] = {}

    def report_line(self, load: str, node: str, line: str) -> None:
        if load not in self._rows:
            self._rows[load] = self._progress.add_task("", total=None)
        self._progress.update(self._rows[load], description=escape_terminal(f"{load} on {node}: {line}"))

    def report_end(self, load: str, outcome: str) -> None:
        super().report_end(load, outcome)
        if load in self._rows:
            self._progress.remove_task(self._rows.pop(load))
        self._progress.advance(self._all)


@contextmanager
def track_loads(console: Console, total: int) -> Iterator[ClusterProgress]:
    """Show the progress of ``total`` loads during a block."""
    if not console.is_terminal:
        yield ClusterProgress(console, total)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield _Table(console, total, progress)
