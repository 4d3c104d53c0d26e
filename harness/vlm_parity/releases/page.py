"""Verdicts by release, as a page of the report and as a table on a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from vlm_parity.releases.history import HISTORY_FILE, History
from vlm_parity.report.load_run import load_run
from vlm_parity.report.page_templates import format_minutes, render_page
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.util.terminal import make_text, print_text

PAGE_FILE = "history.html"
_BYTES_PER_GB = 1e9


def write_history(run: Path, history: History) -> History:
    """Write the page and ``history.json`` into the run folder, and link each answer to its verdict's page."""
    pages = {(entry.shard, entry.verdict.case): entry.page for entry in load_run(run).verdicts}
    answers = tuple(
        answer.model_copy(update={"page": pages.get((answer.shard, answer.case), "")})
        for answer in history.answers
    )
    linked = history.model_copy(update={"answers": answers})
    write_record(run / HISTORY_FILE, linked)
    texts = {"headline": format_headline(linked), "disk": format_disk_usage(linked)}
    write_atomically(
        run / PAGE_FILE, render_page("history.html.j2", run=run.name, history=linked, **texts).encode()
    )
    return linked


def format_headline(history: History) -> str:
    """Format the result as a sentence."""
    if history.result:
        return history.result
    releases = {answer.release for answer in history.answers}
    return (
        f"{len(releases)} of {history.expected} releases of {history.varied_package} run on {history.model}"
    )


def format_disk_usage(history: History) -> str:
    """Format the duration and the size of the environments."""
    return f"{format_minutes(history.seconds)}, environments of {history.bytes / _BYTES_PER_GB:.1f} GB"


def print_history(history: History, run: Path, console: Console) -> None:
    """Print a row for each release and case, the path of the page, and the result."""
    table = Table(title=None)
    for column in (history.varied_package, "case", "verdict", "first divergence", "cause", "transformers"):
        table.add_column(make_text(column), overflow="fold")
    for release in history.releases:
        for case in history.cases:
            answer = history.of(release, case)
            if answer is None:
                continue
            kind, stage, cause = answer.outcome
            row = (
                release,
                case,
                kind,
                stage,
                cause or answer.problem,
                answer.packages.get("transformers", ""),
            )
            table.add_row(*map(make_text, row), style="bold" if history.has_changed(release, case) else None)
    console.print(table)
    print_text(console, str(run / PAGE_FILE))
    print_text(console, f"{format_headline(history)}; {format_disk_usage(history)}.", "bold")
