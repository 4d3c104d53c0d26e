"""The self-check as a page, a table on a terminal, and ``selfcheck.json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm_parity.report.html import number, page
from vlm_parity.schema.record import read_record, write_atomically, write_record
from vlm_parity.selfcheck.record import SELFCHECK_FILE, STRICT_DTYPE, FaultRow, SelfCheck, joined

PAGE_FILE = "selfcheck.html"


@dataclass(frozen=True)
class Tally:
    """How well the harness did in one dtype."""

    dtype: str
    rows: int
    visible: int
    detected: int
    stage_right: int
    cause_right: int
    smallest_margin: float | None
    """Of the visible faults that were found at a stage with numbers."""
    largest_clean: float


def tallies(check: SelfCheck) -> list[Tally]:
    """One a dtype, in the order in which they were checked."""
    return [_tally(check, dtype) for dtype in dict.fromkeys(row.dtype for row in check.faults)]


def _tally(check: SelfCheck, dtype: str) -> Tally:
    rows = [row for row in check.faults if row.dtype == dtype]
    visible = [row for row in rows if row.visible]
    margins = [row.margin for row in visible if row.margin is not None]
    return Tally(
        dtype=dtype,
        rows=len(rows),
        visible=len(visible),
        detected=sum(row.detected for row in visible),
        stage_right=sum(row.stage_right for row in visible),
        cause_right=sum(row.cause_right for row in visible),
        smallest_margin=min(margins, default=None),
        largest_clean=max((row.largest_margin for row in check.clean if row.dtype == dtype), default=0.0),
    )


def read_check(run: Path) -> SelfCheck:
    """All parts of a run's self-check as one.

    Raises:
        RecordError: a part's record cannot be read.
    """
    return joined(read_record(path, SelfCheck) for path in sorted(run.glob(f"parts/*/{SELFCHECK_FILE}")))


def write_check(run: Path) -> SelfCheck:
    """Writes the page and ``selfcheck.json`` of all parts into the run folder."""
    check = read_check(run)
    write_record(run / SELFCHECK_FILE, check)
    content = page(
        "selfcheck.html.j2",
        run=run.resolve().name,
        check=check,
        headline=headline(check),
        tallies=tallies(check),
        strict=STRICT_DTYPE,
    )
    write_atomically(run / PAGE_FILE, content.encode())
    return check


def headline(check: SelfCheck) -> str:
    """The whole in one sentence."""
    strict = next((tally for tally in tallies(check) if tally.dtype == STRICT_DTYPE), None)
    clean = f"{check.false_alarms} false alarms in {check.clean_comparisons:,} clean comparisons"
    if strict is None:
        return f"No fault was planted in {STRICT_DTYPE}; {clean}"
    return (
        f"{strict.detected} of {strict.visible} visible faults detected in {STRICT_DTYPE}, "
        f"{strict.stage_right} at the right stage, {strict.cause_right} with the right cause; {clean}"
    )


def print_check(check: SelfCheck, run: Path, console: Console) -> None:
    """Prints a line a fault, the tallies, and where the page is."""
    table = Table(title=None)
    for column in ("fault", "engine", "case", "detected", "stage", "cause", "margin"):
        table.add_column(column, overflow="fold")
    for row in check.faults:
        table.add_row(*map(escape, _cells(row)), style=None if row.good and row.visible else "yellow")
    console.print(table)
    for tally in tallies(check):
        console.print(_tally_line(tally), highlight=False)
    for line in _complaints(check):
        console.print(escape(line), style="red", highlight=False)
    outcome = "The self-check passes." if check.passes else "The self-check does not pass."
    colour = "bold green" if check.passes else "bold red"
    console.print(escape(f"{headline(check)}. {outcome}"), style=colour, highlight=False)
    console.print(escape(str(run / PAGE_FILE)), highlight=False, soft_wrap=True)


def _cells(row: FaultRow) -> Sequence[str]:
    engine = f"{row.model} {row.backend} {row.dtype}" + ("" if row.mode == "default" else f" {row.mode}")
    if not row.visible:
        return row.fault, engine, row.case, "not visible", "", "", shown_margin(row)
    stage = str(row.stage or "-") + ("" if row.stage_right else f" for {row.expected_stage}")
    cause = (row.cause or "none") if row.cause_right else f"{row.cause or 'none'} for {row.expected_cause}"
    return row.fault, engine, row.case, "yes" if row.detected else "NO", stage, cause, shown_margin(row)


def shown_margin(row: FaultRow) -> str:
    """The margin as a reader wants it."""
    return "exact" if row.margin is None else f"{number(row.margin)}x"


def _tally_line(tally: Tally) -> str:
    margin = "none" if tally.smallest_margin is None else f"{tally.smallest_margin:.3g}"
    return (
        f"{tally.dtype}: {tally.rows} faults planted, {tally.visible} visible, {tally.detected} detected, "
        f"{tally.stage_right} at the right stage, {tally.cause_right} with the right cause; smallest margin "
        f"{margin}, largest clean ratio {tally.largest_clean:.2f} of the limit"
    )


def _complaints(check: SelfCheck) -> Iterable[str]:
    yield from check.problems
    if check.finished_engines < check.expected_engines:
        yield f"{check.finished_engines} of {check.expected_engines} engines were checked"
    for clean in check.clean:
        engine = f"{clean.model} {clean.backend} {clean.dtype}"
        yield from (f"false alarm: {clean.control}, {engine}: {said}" for said in clean.messages)
    for row in check.faults:
        if row.dtype == STRICT_DTYPE and not row.visible:
            yield f"{row.fault}: not visible on {row.case}, {row.model} {row.backend}, where it has to be"
