"""Summary of a run on a terminal: models by backends, causes of differences, and the result."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlm_parity.report.causes import group_by_cause
from vlm_parity.report.drifts import format_drifts
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.locks import format_lock
from vlm_parity.report.summary import (
    INDEX_FILE,
    VerdictCounts,
    build_count_cells,
    format_headline,
    list_remarks,
    list_run_problems,
)
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.terminal import make_text, print_text

_COLORS = {VerdictKind.MATCH: "green", VerdictKind.REFUSED: "green", VerdictKind.UNSUPPORTED: "dim"}


def print_summary(run: LoadedRun, console: Console) -> None:
    """Print the counts by model and backend, the causes, the result, and the path of the report."""
    cells = build_count_cells(run)
    labels = sorted({label for _, label in cells})
    table = Table(title=None, show_lines=True)
    table.add_column("model")
    for label in labels:
        table.add_column(make_text(label))
    for model in sorted({model for model, _ in cells}):
        row = [_format_cell(cells.get((model, label))) for label in labels]
        table.add_row(make_text(model), *row)
    if cells:
        console.print(table)
    print_causes(run, console)
    outcome = "passes" if run.passes else "is incomplete" if run.passes_so_far else "does not pass"
    color = "bold green" if run.passes else "bold red"
    print_text(console, f"{format_headline(run)}. This run {outcome}.", color)
    for line in format_drifts(run.drifts) if run.verdicts else []:
        print_text(console, line)
    for shard in run.shards:
        if shard.record:
            print_text(console, f"{shard.name}: {format_lock(shard.record.lock)}", "dim")
    for problem in list_run_problems(run):
        print_text(console, problem, "red")
    for remark in list_remarks(run):
        print_text(console, remark, "yellow")
    print_text(console, str(run.folder / INDEX_FILE))


def print_causes(run: LoadedRun, console: Console) -> None:
    """Print a line for each cause of differences, and its cases below."""
    for cause in group_by_cause(run.verdicts):
        count, at = len(cause.verdicts), cause.stage or "refusal"
        known = {0: "", count: ", known"}.get(cause.known, f", {cause.known} of them known")
        line = f"{count} at {at}{known}: {cause.cause}"
        print_text(console, line, "yellow" if cause.known == count else "red")
        for where, entries in cause.where:
            cases = ", ".join(entry.verdict.case for entry in entries)
            print_text(console, f"    {where}: {cases}", "dim")


def _format_cell(counts: VerdictCounts | None) -> Text:
    if counts is None:
        return Text("-", "dim")
    lines = [
        Text(f"{n} {kind}", _COLORS.get(kind, "yellow" if kind.passes else "red"))
        for kind, n in counts.worst_first
    ]
    if counts.first_divergence:
        lines.append(Text(f"first at {counts.first_divergence}"))
    return Text("\n").join(lines)
