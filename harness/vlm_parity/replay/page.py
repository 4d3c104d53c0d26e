"""The replays as a page of the report and as a table on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vlm_parity.replay.catalog import REFERENCE_SIDE
from vlm_parity.replay.record import REPLAYS_FILE, ExpectedValue, ReleaseRow, ReplayRecord, ReplayRow
from vlm_parity.report.load_run import load_run
from vlm_parity.report.page_templates import format_minutes, render_page
from vlm_parity.schema.record import write_atomically, write_record
from vlm_parity.util.terminal import make_text, print_text

PAGE_FILE = "replays.html"
_BYTES_PER_GB = 1e9


def write_replays(run: Path, replays: ReplayRecord) -> ReplayRecord:
    """Write the page and ``replays.json`` into the run folder, and link each row to its verdict's page."""
    pages = {(entry.shard, entry.verdict.case): entry.page for entry in load_run(run).verdicts}
    linked = replays.model_copy(update={"rows": tuple(_link_pages(row, pages) for row in replays.rows)})
    write_record(run / REPLAYS_FILE, linked)
    texts = {"headline": format_headline(linked), "disk": format_disk_usage(linked)}
    tables = {"cells": build_cells, "value_rows": build_value_rows}
    content = render_page("replays.html.j2", run=run.name, replays=linked, **tables, **texts)
    write_atomically(run / PAGE_FILE, content.encode())
    return linked


def _link_pages(replay: ReplayRow, pages: dict[tuple[str, str], str]) -> ReplayRow:
    def link(row: ReleaseRow) -> ReleaseRow:
        page = pages.get((row.answer.shard, row.answer.case), "")
        return row.model_copy(update={"answer": row.answer.model_copy(update={"page": page})})

    return replay.model_copy(update={"rows": tuple(link(row) for row in replay.rows)})


@dataclass(frozen=True)
class ValueCell:
    """The values at one location in one backend."""

    actual: tuple[str, ...]
    """The distinct values."""
    expected: tuple[str, ...]
    """The expected values, if another one was found."""


def build_value_rows(replay: ReplayRow) -> Iterator[tuple[str, list[ValueCell]]]:
    """Yield each location with its values in the reference, then in each release, in order."""
    values = [value for row in replay.rows for value in row.values]
    for location in dict.fromkeys(value.location for value in values):
        cells = [
            _build_value_cell([v for v in values if (v.location, v.backend) == (location, backend)])
            for backend in (REFERENCE_SIDE, *replay.replay.releases)
        ]
        yield location, cells


def _build_value_cell(values: list[ExpectedValue]) -> ValueCell:
    actual = dict.fromkeys(value.actual for value in values)
    expected = dict.fromkeys(value.expected for value in values if not value.is_correct)
    return ValueCell(tuple(actual), tuple(expected))


def format_headline(replays: ReplayRecord) -> str:
    """Format the result as a sentence."""
    rows = [row for replay in replays.rows for row in replay.rows]
    buggy = [row for row in rows if row.role == "buggy"]
    fixed = [row for row in rows if row.role == "fixed"]
    passing = sum(replay.passes for replay in replays.rows)
    return (
        f"{passing} of {replays.expected} bugs replay: {sum(row.is_flagged for row in buggy)} of "
        f"{len(buggy)} buggy releases flagged, {sum(row.is_stage_correct for row in buggy)} at the right "
        f"stage, {sum(row.is_cause_correct for row in buggy)} with the right cause; "
        f"{sum(row.is_clean for row in fixed)} of {len(fixed)} fixed releases clean"
    )


def format_disk_usage(replays: ReplayRecord) -> str:
    """Format the duration and the size of the environments."""
    return f"{format_minutes(replays.seconds)}, environments of {replays.bytes / _BYTES_PER_GB:.1f} GB"


def print_replays(replays: ReplayRecord, run: Path, console: Console) -> None:
    """Print a row for each bug, the failures, the path of the page, and the result."""
    table = Table(title=None)
    for column in ("bug", "buggy release flagged?", "right stage?", "right cause?", "fixed release clean?"):
        table.add_column(column, overflow="fold")
    for replay in replays.rows:
        cells = (replay.replay.name, *build_cells(replay))
        table.add_row(*map(make_text, cells), style=None if replay.passes else "red")
    console.print(table)
    for line in list_failures(replays):
        print_text(console, line, "red")
    print_text(console, str(run / PAGE_FILE))
    outcome = "passes" if replays.passes else "does not pass"
    style = "bold green" if replays.passes else "bold red"
    sentence = f"{format_headline(replays)}; {format_disk_usage(replays)}. This {outcome}."
    print_text(console, sentence, style)


def build_cells(replay: ReplayRow) -> tuple[str, str, str, str]:
    """Build the cells flagged, stage, cause, clean, with a line for each release."""
    buggy, fixed = replay.of("buggy"), replay.of("fixed")
    return (
        _format_lines(buggy, lambda row: row.is_flagged, lambda row: row.answer.outcome_text),
        _format_lines(buggy, lambda row: row.is_stage_correct, lambda row: row.answer.stage or "none"),
        _format_lines(buggy, lambda row: row.is_cause_correct, lambda row: row.answer.cause or "none"),
        _format_lines(fixed, lambda row: row.is_clean, lambda row: row.answer.outcome_text)
        if fixed
        else "no release is fixed",
    )


def _format_lines(
    rows: Iterable[ReleaseRow],
    is_correct: Callable[[ReleaseRow], bool],
    describe_actual: Callable[[ReleaseRow], str],
) -> str:
    lines = (
        f"{row.answer.release} {'yes' if is_correct(row) else f'NO: {describe_actual(row)}'}" for row in rows
    )
    return "\n".join(lines)


def list_failures(replays: ReplayRecord) -> Iterator[str]:
    """Yield the reasons why the replays do not pass that the table does not show."""
    if len(replays.rows) < replays.expected:
        yield f"{len(replays.rows)} of {replays.expected} bugs were replayed"
    for replay in replays.rows:
        name = replay.replay.name
        if replay.problem:
            yield f"{name}: {replay.problem}"
        elif not replay.is_finished:
            yield f"{name}: {len(replay.rows)} of {len(replay.replay.releases)} releases were run"
        for answer in replay.unanswered:
            yield f"{name}: {answer.backend} {answer.release}: {answer.problem or answer.reason}"
        for value in (value for row in replay.rows for value in row.values if not value.is_correct):
            place = f"{name}: {value.location} in {value.backend}"
            yield f"{place}: expected {value.expected}, found {value.actual}"
