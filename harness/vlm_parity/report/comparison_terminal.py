"""Changes of a run and the decision of the gate on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from vlm_parity.changes.gate import GateResult, Level
from vlm_parity.report.comparison_rows import (
    CHANGE_HEADER,
    REASON_HEADER,
    build_change_row,
    build_reason_row,
    format_environment,
    format_note,
    list_shown_groups,
    shorten_list,
)
from vlm_parity.report.run_comparison import RunComparison
from vlm_parity.util.terminal import make_text, print_text

_COLORS = {Level.FAILURE: "red", Level.WARNING: "yellow"}
_Rows = Iterable[tuple[str, tuple[str, ...]]]


def print_comparison(comparison: RunComparison, console: Console) -> None:
    """Print the result in a sentence, the environment changes, and the changes by class and cause."""
    print_text(console, comparison.sentence, _choose_headline_color(not comparison.is_worse))
    _print_environment(comparison, console)
    rows = (
        (_choose_color(group.is_worse), build_change_row(group)) for group in list_shown_groups(comparison)
    )
    _print_table(CHANGE_HEADER, rows, console)
    for problem in shorten_list(comparison.run.problems):
        print_text(console, problem, "red")
    for problem in shorten_list(comparison.baseline.problems):
        print_text(console, f"Baseline: {problem}", "yellow")
    print_text(console, format_note(comparison), "dim")


def print_gate(comparison: RunComparison, result: GateResult, console: Console) -> None:
    """Print the decision in a sentence, its reasons, and the environment changes."""
    print_text(console, result.sentence, _choose_headline_color(result.passes))
    rows = ((_COLORS[reason.level], build_reason_row(reason)) for reason in result.reasons)
    _print_table(REASON_HEADER, rows, console)
    _print_environment(comparison, console)
    print_text(console, format_note(comparison), "dim")


def _print_environment(comparison: RunComparison, console: Console) -> None:
    for change in comparison.environment:
        print_text(console, format_environment(change), "cyan")


def _choose_headline_color(is_good: bool) -> str:
    return "bold green" if is_good else "bold red"


def _choose_color(is_worse: bool) -> str:
    return "red" if is_worse else ""


def _print_table(header: tuple[str, ...], rows: _Rows, console: Console) -> None:
    table = Table(show_lines=True)
    for name in header:
        table.add_column(name, overflow="fold")
    for color, cells in rows:
        table.add_row(*(make_text(cell, color) for cell in cells))
    if table.row_count:
        console.print(table)
