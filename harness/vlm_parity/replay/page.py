"""The replays as a page and a table on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm_parity.replay.catalogue import REFERENCE_SIDE
from vlm_parity.replay.record import REPLAYS_FILE, ReleaseRow, ReplayRecord, ReplayRow, StatedValue
from vlm_parity.report.html import format_minutes, render_page
from vlm_parity.report.load_run import load_run
from vlm_parity.schema.record import write_atomically, write_record

PAGE_FILE = "replays.html"
_BYTES_PER_GB = 1e9


def write_replays(run: Path, replays: ReplayRecord) -> ReplayRecord:
    """Writes the page and ``replays.json`` into the run folder, each row with the page of its verdict."""
    pages = {(entry.shard, entry.verdict.case): entry.page for entry in load_run(run).verdicts}
    linked = replays.model_copy(update={"rows": tuple(_link_pages(row, pages) for row in replays.rows)})
    write_record(run / REPLAYS_FILE, linked)
    said = {"headline": format_headline(linked), "disk": format_disk_usage(linked)}
    tables = {"cells": build_cells, "value_rows": build_value_rows}
    content = render_page("replays.html.j2", run=run.name, replays=linked, **tables, **said)
    write_atomically(run / PAGE_FILE, content.encode())
    return linked


def _link_pages(row: ReplayRow, pages: dict[tuple[str, str], str]) -> ReplayRow:
    rows = tuple(
        each.model_copy(
            update={
                "answer": each.answer.model_copy(
                    update={"page": pages.get((each.answer.shard, each.answer.case), "")}
                )
            }
        )
        for each in row.rows
    )
    return row.model_copy(update={"rows": rows})


@dataclass(frozen=True)
class ValueCell:
    """What was found at one place in one side: every value that was, and those that were stated where one is
    another.
    """

    found: tuple[str, ...]
    stated: tuple[str, ...]


def build_value_rows(row: ReplayRow) -> Iterator[tuple[str, list[ValueCell]]]:
    """A place, and what was found there: in the reference, then in each release, in order."""
    values = [value for each in row.rows for value in each.values]
    for place in dict.fromkeys(value.place for value in values):
        sides = (REFERENCE_SIDE, *row.replay.releases)
        yield (
            place,
            [
                _value_cell([each for each in values if (each.place, each.side) == (place, side)])
                for side in sides
            ],
        )


def _value_cell(values: list[StatedValue]) -> ValueCell:
    wrong = dict.fromkeys(value.stated for value in values if not value.is_correct)
    return ValueCell(tuple(dict.fromkeys(value.found for value in values)), tuple(wrong))


def format_headline(replays: ReplayRecord) -> str:
    """The whole in one sentence."""
    every = [row for replay in replays.rows for row in replay.rows]
    buggy = [row for row in every if row.role == "buggy"]
    fixed = [row for row in every if row.role == "fixed"]
    good = sum(row.good for row in replays.rows)
    return (
        f"{good} of {replays.expected} bugs replay: {sum(row.flagged for row in buggy)} of {len(buggy)} "
        f"buggy releases flagged, {sum(row.is_stage_correct for row in buggy)} at the right stage, "
        f"{sum(row.is_cause_correct for row in buggy)} with the right cause; "
        f"{sum(row.clean for row in fixed)} of {len(fixed)} fixed releases clean"
    )


def format_disk_usage(replays: ReplayRecord) -> str:
    """What it took, in words."""
    return f"{format_minutes(replays.seconds)}, environments of {replays.bytes / _BYTES_PER_GB:.1f} GB"


def print_replays(replays: ReplayRecord, run: Path, console: Console) -> None:
    """Prints a line a bug, what is wrong, and one line that sums it up."""
    table = Table(title=None)
    for column in ("bug", "buggy release flagged?", "right stage?", "cause named?", "fixed release clean?"):
        table.add_column(column, overflow="fold")
    for row in replays.rows:
        table.add_row(*map(escape, (row.replay.name, *build_cells(row))), style=None if row.good else "red")
    console.print(table)
    for line in list_failures(replays):
        console.print(escape(line), style="red", highlight=False, soft_wrap=True)
    console.print(escape(str(run / PAGE_FILE)), highlight=False, soft_wrap=True)
    outcome = "passes" if replays.passes else "does not pass"
    style = "bold green" if replays.passes else "bold red"
    said = f"{format_headline(replays)}; {format_disk_usage(replays)}. This {outcome}."
    console.print(escape(said), style=style, highlight=False)


def build_cells(row: ReplayRow) -> tuple[str, str, str, str]:
    """Flagged, stage, cause, clean: what each release said."""
    buggy, fixed = row.of("buggy"), row.of("fixed")
    return (
        _format_each(buggy, lambda one: one.flagged, lambda one: one.answer.outcome_text),
        _format_each(buggy, lambda one: one.is_stage_correct, lambda one: one.answer.stage or "none"),
        _format_each(buggy, lambda one: one.is_cause_correct, lambda one: one.answer.cause or "none"),
        _format_each(fixed, lambda one: one.clean, lambda one: one.answer.outcome_text)
        if fixed
        else "none is fixed",
    )


def _format_each(
    rows: Iterable[ReleaseRow], right: Callable[[ReleaseRow], bool], otherwise: Callable[[ReleaseRow], str]
) -> str:
    said = ((row.answer.release, "yes" if right(row) else f"NO: {otherwise(row)}") for row in rows)
    return "\n".join(f"{release} {words}" for release, words in said)


def list_failures(replays: ReplayRecord) -> Iterator[str]:
    """Everything that keeps it from passing, but what the table shows."""
    if len(replays.rows) < replays.expected:
        yield f"{len(replays.rows)} of {replays.expected} bugs were replayed"
    for row in replays.rows:
        name = row.replay.name
        if row.problem:
            yield f"{name}: {row.problem}"
        elif not row.finished:
            yield f"{name}: {len(row.rows)} of {len(row.replay.releases)} releases were asked"
        for answer in row.unanswered:
            yield f"{name}: {answer.backend} {answer.release}: {answer.problem or answer.reason}"
        for each in row.rows:
            for value in each.values:
                if not value.is_correct:
                    yield f"{name}: {value.place} in {value.side}: stated {value.stated}, found {value.found}"
