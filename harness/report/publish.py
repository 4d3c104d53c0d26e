"""Writes a run's pages, and lets ``latest`` point to it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.report.html import write_report
from harness.report.run import Run, load_run

LATEST = "latest"


def publish(folder: Path) -> Run:
    """Reads the run folder, writes its pages and ``report.json``, and moves ``latest`` to it."""
    run = load_run(folder)
    write_report(run)
    _point_latest(folder.resolve())
    return run


def _point_latest(folder: Path) -> None:
    draft = folder.parent / f".{LATEST}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name, target_is_directory=True)
    draft.replace(folder.parent / LATEST)
