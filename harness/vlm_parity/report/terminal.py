"""A run on a terminal: models by backends, why they part ways, and the result."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from vlm_parity.report.causes import group_by_cause
from vlm_parity.report.drifts import format_drifts
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.summary import (
    INDEX_FILE,
    VerdictCounts,
    build_count_cells,
    format_headline,
    list_remarks,
    list_skip_reasons,
)
from vlm_parity.schema.verdict import VerdictKind

_COLOURS = {VerdictKind.MATCH: "green", VerdictKind.REFUSED: "green", VerdictKind.UNSUPPORTED: "dim"}


def print_summary(run: LoadedRun, console: Console) -> None:
    """Prints models by backends with counts, then what else is wrong, then where the pages are."""
    cells = build_count_cells(run)
    ways = sorted({way for _, way in cells})
    table = Table(title=None, show_lines=True)
    table.add_column("model")
    for way in ways:
        table.add_column(escape(way))
    for model in sorted({model for model, _ in cells}):
        row = [_format_cell(cells.get((model, way))) for way in ways]
        table.add_row(escape(model), *row)
    if cells:
        console.print(table)
    print_causes(run, console)
    outcome = "passes" if run.passes else "does not pass"
    colour = "bold green" if run.passes else "bold red"
    console.print(escape(f"{format_headline(run)}. This run {outcome}."), style=colour, highlight=False)
    for line in format_drifts(run.drifts) if run.verdicts else []:
        console.print(escape(line), highlight=False)
    for obstacle in list_skip_reasons(run):
        console.print(escape(obstacle), style="red", highlight=False)
    for remark in list_remarks(run):
        console.print(escape(remark), style="yellow", highlight=False)
    console.print(escape(str(run.folder / INDEX_FILE)), highlight=False, soft_wrap=True)


def print_causes(run: LoadedRun, console: Console) -> None:
    """Why they part ways, a line a cause, and the cases below it."""
    for cause in group_by_cause(run):
        count, at = len(cause.verdicts), cause.stage or "refusal"
        known = {0: "", count: ", known"}.get(cause.known, f", {cause.known} of them known")
        line = f"{count} at {at}{known}: {cause.cause}"
        console.print(escape(line), style="yellow" if cause.known == count else "red", highlight=False)
        for where, filed in cause.where:
            cases = ", ".join(each.verdict.case for each in filed)
            console.print(Padding(escape(f"{where}: {cases}"), (0, 0, 0, 4)), style="dim", highlight=False)


def _format_cell(counts: VerdictCounts | None) -> str:
    if counts is None:
        return "[dim]-[/dim]"
    lines = [
        f"[{_COLOURS.get(kind, 'yellow' if kind.passes else 'red')}]{n} {kind}[/]"
        for kind, n in counts.worst_first
    ]
    if counts.first_divergence:
        lines.append(f"first at {counts.first_divergence}")
    return "\n".join(lines)
