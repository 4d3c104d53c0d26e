"""The self-check as a page, a table on a terminal, and ``selfcheck.json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm_parity.report.html import format_number, render_page
from vlm_parity.schema.record import read_record, write_atomically, write_record
from vlm_parity.selfcheck.record import (
    SELFCHECK_FILE,
    STRICT_DTYPE,
    FaultRow,
    SelfcheckRecord,
    merge_selfchecks,
)

PAGE_FILE = "selfcheck.html"


@dataclass(frozen=True)
class DetectionCounts:
    """How well the harness did in one dtype."""

    dtype: str
    rows: int
    visible: int
    detected: int
    is_stage_correct: int
    is_cause_correct: int
    smallest_limit_ratio: float | None
    """Of the visible faults that were found at a stage with numbers."""
    largest_clean: float


def count_detections(check: SelfcheckRecord) -> list[DetectionCounts]:
    """One a dtype, in the order in which they were checked."""
    return [_count_detections(check, dtype) for dtype in dict.fromkeys(row.dtype for row in check.faults)]


def _count_detections(check: SelfcheckRecord, dtype: str) -> DetectionCounts:
    rows = [row for row in check.faults if row.dtype == dtype]
    visible = [row for row in rows if row.visible]
    margins = [row.limit_ratio for row in visible if row.limit_ratio is not None]
    return DetectionCounts(
        dtype=dtype,
        rows=len(rows),
        visible=len(visible),
        detected=sum(row.detected for row in visible),
        is_stage_correct=sum(row.is_stage_correct for row in visible),
        is_cause_correct=sum(row.is_cause_correct for row in visible),
        smallest_limit_ratio=min(margins, default=None),
        largest_clean=max(
            (row.largest_limit_ratio for row in check.clean if row.dtype == dtype), default=0.0
        ),
    )


def read_selfcheck(run: Path) -> SelfcheckRecord:
    """All parts of a run's self-check as one.

    Raises:
        RecordError: a part's record cannot be read.
    """
    return merge_selfchecks(
        read_record(path, SelfcheckRecord) for path in sorted(run.glob(f"shards/*/{SELFCHECK_FILE}"))
    )


def write_selfcheck_page(run: Path) -> SelfcheckRecord:
    """Writes the page and ``selfcheck.json`` of all parts into the run folder."""
    check = read_selfcheck(run)
    write_record(run / SELFCHECK_FILE, check)
    content = render_page(
        "selfcheck.html.j2",
        run=run.resolve().name,
        check=check,
        headline=format_headline(check),
        tallies=count_detections(check),
        strict=STRICT_DTYPE,
    )
    write_atomically(run / PAGE_FILE, content.encode())
    return check


def format_headline(check: SelfcheckRecord) -> str:
    """The whole in one sentence."""
    strict = next((tally for tally in count_detections(check) if tally.dtype == STRICT_DTYPE), None)
    clean = f"{check.false_alarms} false alarms in {check.clean_comparisons:,} clean comparisons"
    if strict is None:
        return f"No fault was planted in {STRICT_DTYPE}; {clean}"
    return (
        f"{strict.detected} of {strict.visible} visible faults detected in {STRICT_DTYPE}, "
        f"{strict.is_stage_correct} at the right stage, {strict.is_cause_correct} with the right cause; {clean}"
    )


def print_selfcheck(check: SelfcheckRecord, run: Path, console: Console) -> None:
    """Prints a line a fault, the tallies, and where the page is."""
    table = Table(title=None)
    for column in ("fault", "engine", "case", "detected", "stage", "cause", "limit_ratio"):
        table.add_column(column, overflow="fold")
    for row in check.faults:
        table.add_row(*map(escape, _cells(row)), style=None if row.good and row.visible else "yellow")
    console.print(table)
    for tally in count_detections(check):
        console.print(_format_counts(tally), highlight=False)
    for line in _list_failures(check):
        console.print(escape(line), style="red", highlight=False)
    outcome = "The self-check passes." if check.passes else "The self-check does not pass."
    colour = "bold green" if check.passes else "bold red"
    console.print(escape(f"{format_headline(check)}. {outcome}"), style=colour, highlight=False)
    console.print(escape(str(run / PAGE_FILE)), highlight=False, soft_wrap=True)


def _cells(row: FaultRow) -> Sequence[str]:
    engine = f"{row.model} {row.backend} {row.dtype}" + ("" if row.mode == "default" else f" {row.mode}")
    if not row.visible:
        return row.fault, engine, row.case, "not visible", "", "", format_limit_ratio(row)
    stage = str(row.stage or "-") + ("" if row.is_stage_correct else f" for {row.expected_stage}")
    cause = (
        (row.cause or "none") if row.is_cause_correct else f"{row.cause or 'none'} for {row.expected_cause}"
    )
    return row.fault, engine, row.case, "yes" if row.detected else "NO", stage, cause, format_limit_ratio(row)


def format_limit_ratio(row: FaultRow) -> str:
    """The margin as a reader wants it."""
    return "exact" if row.limit_ratio is None else f"{format_number(row.limit_ratio)}x"


def _format_counts(tally: DetectionCounts) -> str:
    margin = "none" if tally.smallest_limit_ratio is None else f"{tally.smallest_limit_ratio:.3g}"
    return (
        f"{tally.dtype}: {tally.rows} faults planted, {tally.visible} visible, {tally.detected} detected, "
        f"{tally.is_stage_correct} at the right stage, {tally.is_cause_correct} with the right cause; smallest margin "
        f"{margin}, largest clean ratio {tally.largest_clean:.2f} of the limit"
    )


def _list_failures(check: SelfcheckRecord) -> Iterable[str]:
    yield from check.problems
    if check.finished_engines < check.expected_engines:
        yield f"{check.finished_engines} of {check.expected_engines} engines were checked"
    for clean in check.clean:
        engine = f"{clean.model} {clean.backend} {clean.dtype}"
        yield from (f"false alarm: {clean.control}, {engine}: {said}" for said in clean.messages)
    for row in check.faults:
        if row.dtype == STRICT_DTYPE and not row.visible:
            yield f"{row.fault}: not visible on {row.case}, {row.model} {row.backend}, where it has to be"
