"""The runs in a folder, each with its result, as their ``report.json`` states it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, ValidationError

from vlm_parity.report.html import REPORT_FILE
from vlm_parity.report.load_run import SEVERITY_ORDER
from vlm_parity.report.run_files import find_file
from vlm_parity.report.summary import INDEX_FILE
from vlm_parity.schema.verdict import VerdictKind


@dataclass(frozen=True)
class RunOverview:
    """One run in a folder of runs."""

    name: str
    """The name of its folder."""
    started: str | None = None
    """ISO 8601, UTC."""
    passes: bool = False
    counts: tuple[tuple[VerdictKind, int], ...] = ()
    """The kinds that occur, the worst first, with their counts."""
    problem: str = ""
    """The reason why nothing else is known."""


class _Counts(BaseModel):
    verdicts: dict[str, NonNegativeInt]


class _Run(BaseModel):
    started: str | None
    passes: bool
    counts: _Counts


class _Report(BaseModel):
    """The part of ``report.json`` that an overview shows."""

    run: _Run


def list_run_overviews(folder: Path) -> list[RunOverview]:
    """List the runs with a report in a folder, the latest first. Symbolic links are not followed."""
    runs = []
    for path in folder.iterdir():
        report = None if path.is_symlink() else find_file(path, REPORT_FILE)
        if report is not None and find_file(path, INDEX_FILE) is not None:
            runs.append(_read_overview(report, report.stat().st_mtime_ns))
    return sorted(runs, key=lambda run: (run.started or "", run.name), reverse=True)


@lru_cache(maxsize=1024)
def _read_overview(report: Path, _modified: int) -> RunOverview:
    """Read a report; it is read again only if it was modified."""
    name = report.parent.name
    try:
        run = _Report.model_validate_json(report.read_bytes()).run
    except ValidationError:
        return RunOverview(name, problem=f"{REPORT_FILE} is unreadable")
    counts = tuple((kind, n) for kind in SEVERITY_ORDER if (n := run.counts.verdicts.get(kind, 0)))
    return RunOverview(name, run.started, run.passes, counts)
