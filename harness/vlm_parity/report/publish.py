"""Writes a run's pages, lets ``latest`` point to it, and merges the parts of several runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.report.fuzz_page import write_fuzz
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import Run, load_run
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import verdict_file
from vlm_parity.verdicts.known_issues import Entry, fitted, with_ledger, without_ledger

LATEST = "latest"


def publish(folder: Path) -> Run:
    """Reads the run folder, writes its pages and ``report.json``, and moves ``latest`` to it."""
    run = load_run(folder)
    write_report(run)
    write_fuzz(run)
    _point_latest(folder.resolve())
    return run


def apply_ledger(folder: Path, ledger: tuple[Entry, ...]) -> None:
    """Writes the verdicts of a run again, in the light of this ledger instead of the one they were made
    with. No engine is started, and nothing is compared."""
    today = datetime.now(UTC).date()
    for part in load_run(folder).parts:
        before = [without_ledger(filed.verdict) for filed in part.verdicts]
        for verdict in before:
            write_record(verdict_file(part.folder, verdict), with_ledger(verdict, ledger, today))
        if part.record is not None and part.record.ledger:
            record = part.record.model_copy(update={"ledger": fitted(ledger, before)})
            write_record(part.folder / "part.json", record)


def merge(runs: Iterable[Path], out: Path, *, move: bool, expected: Iterable[str]) -> list[str]:
    """Brings the parts of several runs together in one run folder.

    A part whose name is taken already gets a number.

    Returns:
        The expected parts that no run has.
    """
    parts = [part for run in runs for part in sorted(run.glob("parts/*")) if part.is_dir()]
    (out / "parts").mkdir(parents=True, exist_ok=True)
    for part in parts:
        if part.parent.samefile(out / "parts"):
            continue  # it is there already
        target = _free(out / "parts" / part.name)
        if move:
            shutil.move(part, target)
        else:
            shutil.copytree(part, target)
    found = {part.name.partition("-gw")[0] for part in parts}  # a part of pytest-xdist has a worker's number
    return sorted(set(expected) - found)


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _point_latest(folder: Path) -> None:
    draft = folder.parent / f".{LATEST}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name, target_is_directory=True)
    draft.replace(folder.parent / LATEST)
