"""Runs of the store on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.store.read_runs import StoredRun
from vlm_parity.util.terminal import make_text, print_text

_RUN_HEADER = ("run", "release", "branch", "started", "shards", "comparisons", "failing", "result")
_COMPARISON_HEADER = ("comparison", "verdict", "first stage", "cause")


def print_runs(runs: Iterable[StoredRun], console: Console) -> None:
    """Print a line for each run."""
    _print_table(_RUN_HEADER, (("" if run.passes else "red", _build_run_row(run)) for run in runs), console)


def print_run(stored: StoredRun, run: RunSummary, console: Console) -> None:
    """Print the labels, the counts, the problems and the failing comparisons of a run."""
    print_text(console, "; ".join(_list_facts(stored)), "bold green" if stored.passes else "bold red")
    kinds = Counter(comparison.kind for comparison in run.comparisons)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print_text(console, f"{len(run.comparisons)} comparisons: {counts}" if counts else "No comparison", "")
    for problem in run.problems:
        print_text(console, problem, "red")
    failing = (each for each in run.comparisons if not each.kind.passes)
    _print_table(_COMPARISON_HEADER, (("red", _build_comparison_row(each)) for each in failing), console)


def _list_facts(run: StoredRun) -> Iterator[str]:
    yield f"Run {run.name} {'passes' if run.passes else 'does not pass'}"
    labels = {
        "release": run.release,
        "branch": run.branch,
        "commit": run.revision,
        "started": run.started,
        "finished": run.finished,
        "evidence in": run.evidence,
    }
    yield from (f"{name} {value}" for name, value in labels.items() if value)


def _build_run_row(run: StoredRun) -> tuple[str, ...]:
    counts = map(str, (run.shards, run.comparisons, run.failing))
    return run.name, run.release, run.branch, run.started or "", *counts, "passes" if run.passes else "fails"


def _build_comparison_row(comparison: Comparison) -> tuple[str, ...]:
    stage = str(comparison.first_divergence or "")
    return comparison.title, str(comparison.kind), stage, comparison.get_cause(stage)


def _print_table(
    header: tuple[str, ...], rows: Iterable[tuple[str, tuple[str, ...]]], console: Console
) -> None:
    table = Table()
    for name in header:
        table.add_column(name, overflow="fold")
    for color, cells in rows:
        table.add_row(*(make_text(cell, color) for cell in cells))
    if table.row_count:
        console.print(table)
