"""The report of the self-check: an HTML page, a table for the terminal and ``selfcheck.json``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vlm_parity.report.page_templates import format_number, render_page
from vlm_parity.report.run_files import list_shard_folders
from vlm_parity.schema.record import read_record, write_atomically, write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD
from vlm_parity.selfcheck.cause_grade import CONFIDENT, REQUIRED_SPECIFIC_SHARE, CauseGrade
from vlm_parity.selfcheck.contradictions import find_contradictions
from vlm_parity.selfcheck.record import (
    STRICT_DTYPE,
    FaultRow,
    SelfcheckRecord,
    merge_selfchecks,
)
from vlm_parity.util.errors import RecordError
from vlm_parity.util.terminal import make_text, print_text

PAGE_FILE = "selfcheck.html"


@dataclass(frozen=True)
class DetectionCounts:
    """The numbers of faults of one dtype, by how far they were found."""

    dtype: str
    rows: int
    visible: int
    detected: int
    is_stage_correct: int
    grades: Mapping[CauseGrade, int]
    """The numbers of detected visible faults by the grade of the cause."""
    misleading: int
    """The number of wrong causes with a high confidence, see ``FaultRow.is_misleading``."""
    smallest_limit_ratio: float | None
    """Of the visible faults at stages that are compared against the noise floor."""
    largest_clean: float
    """The largest limit ratio without a fault."""

    @property
    def specific_share(self) -> float | None:
        """The share of the detected faults whose specific cause is named; None if none was detected."""
        return self.grades[CauseGrade.SPECIFIC] / self.detected if self.detected else None


def count_detections(check: SelfcheckRecord) -> list[DetectionCounts]:
    """Return the counts of each dtype, in the order of the check."""
    return [_count_detections(check, dtype) for dtype in dict.fromkeys(row.dtype for row in check.faults)]


def _count_detections(check: SelfcheckRecord, dtype: str) -> DetectionCounts:
    rows = [row for row in check.faults if row.dtype == dtype]
    visible = [row for row in rows if row.visible]
    ratios = [row.limit_ratio for row in visible if row.limit_ratio is not None]
    grades = Counter(row.grade for row in visible if row.detected)
    return DetectionCounts(
        dtype=dtype,
        rows=len(rows),
        visible=len(visible),
        detected=sum(row.detected for row in visible),
        is_stage_correct=sum(row.is_stage_correct for row in visible),
        grades={grade: grades[grade] for grade in CauseGrade},
        misleading=sum(row.is_misleading for row in visible),
        smallest_limit_ratio=min(ratios, default=None),
        largest_clean=max(
            (row.largest_limit_ratio for row in check.controls if row.dtype == dtype), default=0.0
        ),
    )


@dataclass(frozen=True)
class ModuleCounts:
    """The numbers of faults of modules, by how far they were located."""

    rows: int
    named: int
    caused: int
    """Those named with their cause."""


def count_modules(check: SelfcheckRecord) -> ModuleCounts:
    """Return the counts of all faults of modules."""
    return ModuleCounts(
        len(check.modules),
        sum(row.is_correct for row in check.modules),
        sum(row.passes for row in check.modules),
    )


def read_selfcheck(run: Path) -> SelfcheckRecord:
    """Read and merge all shards of the self-check of a run.

    A record that is unreadable or contradicts itself is a problem of the self-check.
    """
    problems: list[str] = []
    checks = []
    for folder in list_shard_folders(run, problems):
        path = folder / SELFCHECK_RECORD
        if path.is_symlink():
            problems.append(f"{path}: a symbolic link, which is not followed")
        elif path.exists():
            try:
                checks.append(read_record(path, SelfcheckRecord))
            except RecordError as error:
                problems.append(str(error))
            else:
                problems += (f"{path}: {text}" for text in find_contradictions(checks[-1]))
    return merge_selfchecks(checks, problems)


def write_selfcheck_page(run: Path) -> SelfcheckRecord:
    """Write the page and the merged ``selfcheck.json`` into the run folder."""
    check = read_selfcheck(run)
    write_record(run / SELFCHECK_RECORD, check)
    content = render_page(
        "selfcheck.html.j2",
        run=run.resolve().name,
        check=check,
        headline=format_headline(check),
        tallies=count_detections(check),
        module_counts=count_modules(check),
        strict=STRICT_DTYPE,
        confident=CONFIDENT,
        required_share=format_share(REQUIRED_SPECIFIC_SHARE),
        format_share=format_share,
    )
    write_atomically(run / PAGE_FILE, content.encode())
    return check


def format_headline(check: SelfcheckRecord) -> str:
    """Summarize the self-check in one sentence."""
    strict = next((counts for counts in count_detections(check) if counts.dtype == STRICT_DTYPE), None)
    clean = f"{check.false_alarms} false alarms in {check.clean_comparisons:,} clean comparisons"
    if strict is None:
        return f"No fault was injected in {STRICT_DTYPE}; {clean}"
    return (
        f"{strict.detected} of {strict.visible} visible faults detected in {STRICT_DTYPE}, "
        f"{strict.is_stage_correct} at the right stage; causes: {format_grades(strict)}; {clean}"
    )


def print_selfcheck(check: SelfcheckRecord, run: Path, console: Console) -> None:
    """Print a line for each fault, the counts of each dtype, all failures and the path of the page."""
    table = Table(title=None)
    for column in ("fault", "engine", "case", "detected", "stage", "cause", "limit ratio"):
        table.add_column(column, overflow="fold")
    for row in check.faults:
        table.add_row(*map(make_text, _cells(row)), style=None if row.passes and row.visible else "yellow")
    console.print(table)
    for counts in count_detections(check):
        print_text(console, _format_counts(counts))
    if check.modules:
        modules = count_modules(check)
        print_text(
            console,
            f"modules: {modules.named} of {modules.rows} faults located, {modules.caused} with their cause",
        )
    for line in _list_failures(check):
        print_text(console, line, "red")
    outcome = "The self-check passes." if check.passes else "The self-check does not pass."
    color = "bold green" if check.passes else "bold red"
    print_text(console, f"{format_headline(check)}. {outcome}", color)
    print_text(console, str(run / PAGE_FILE))


def _cells(row: FaultRow) -> Sequence[str]:
    engine = f"{row.model} {row.backend} {row.dtype}" + ("" if row.mode == "default" else f" {row.mode}")
    if not row.visible:
        return row.fault, engine, format_case(row), "not visible", "", "", format_limit_ratio(row)
    stage = str(row.stage or "-") + ("" if row.is_stage_correct else f" for {row.expected_stage}")
    detected = "yes" if row.detected else "NO"
    return row.fault, engine, format_case(row), detected, stage, row.graded_cause, format_limit_ratio(row)


def format_case(row: FaultRow) -> str:
    """Format the case of a fault, and the difference behind which it was injected."""
    return row.case if row.behind is None else f"{row.case}, behind {row.behind}"


def format_grades(counts: DetectionCounts) -> str:
    """Format the numbers of causes by grade: ``30 specific (75 %), 10 general, 0 wrong, 0 none``."""
    share = "" if counts.specific_share is None else f" ({format_share(counts.specific_share)})"
    return ", ".join(
        f"{number} {grade}" + (share if grade is CauseGrade.SPECIFIC else "")
        for grade, number in counts.grades.items()
    )


def format_share(share: float) -> str:
    """Format a share in percent, rounded down, so that one below a limit never shows as the limit."""
    return f"{math.floor(100 * share)} %"


def format_limit_ratio(row: FaultRow) -> str:
    """Format the limit ratio of a fault, ``exact`` if it has none."""
    return "exact" if row.limit_ratio is None else f"{format_number(row.limit_ratio)}x"


def _format_counts(counts: DetectionCounts) -> str:
    smallest = "none" if counts.smallest_limit_ratio is None else f"{counts.smallest_limit_ratio:.3g}"
    return (
        f"{counts.dtype}: {counts.rows} faults injected, {counts.visible} visible, "
        f"{counts.detected} detected, {counts.is_stage_correct} at the right stage; "
        f"causes: {format_grades(counts)}; "
        f"wrong ones above a confidence of {CONFIDENT}: {counts.misleading}; "
        f"aim: at least {format_share(REQUIRED_SPECIFIC_SHARE)} specific; "
        f"smallest limit ratio {smallest}, largest without a fault {counts.largest_clean:.2f}"
    )


def _list_failures(check: SelfcheckRecord) -> Iterable[str]:
    yield from check.problems
    if check.finished_engines < check.expected_engines:
        yield f"{check.finished_engines} of {check.expected_engines} engines were checked"
    for control in check.controls:
        engine = f"{control.model} {control.backend} {control.dtype}"
        yield from (f"false alarm: {control.control}, {engine}: {message}" for message in control.messages)
    for module in check.modules:
        if not module.passes:
            named = ", ".join(module.named) or "no module"
            yield f"{module.fault}: {named} named in {module.model} {module.backend}, not {module.expected}"
    for row in check.faults:
        if row.dtype == STRICT_DTYPE and not row.visible:
            yield f"{row.fault}: not visible on {row.case}, {row.model} {row.backend}"
