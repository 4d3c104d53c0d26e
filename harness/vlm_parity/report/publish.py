"""Writes a run's pages, lets ``latest`` point to it, and merges the parts of several runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.report.fuzz_page import write_fuzz
from vlm_parity.report.html import write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import get_verdict_path
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues, match_counts, remove_known_issues

LATEST = "latest"


def publish_report(folder: Path) -> LoadedRun:
    """Reads the run folder, writes its pages and ``report.json``, and moves ``latest`` to it."""
    run = load_run(folder)
    write_report(run)
    write_fuzz(run)
    _link_latest(folder.resolve())
    return run


def apply_known_issues_to_run(folder: Path, known_issues: tuple[KnownIssue, ...]) -> None:
    """Writes the verdicts of a run again, in the light of this ledger instead of the one they were made
    with. No engine is started, and nothing is compared.
    """
    today = datetime.now(UTC).date()
    for shard in load_run(folder).shards:
        before = [remove_known_issues(filed.verdict) for filed in shard.verdicts]
        for verdict in before:
            write_record(
                get_verdict_path(shard.folder, verdict), apply_known_issues(verdict, known_issues, today)
            )
        if shard.record is not None and shard.record.known_issues:
            record = shard.record.model_copy(update={"known_issues": match_counts(known_issues, before)})
            write_record(shard.folder / "shard.json", record)


def merge_runs(runs: Iterable[Path], out: Path, *, move: bool, expected: Iterable[str]) -> list[str]:
    """Brings the parts of several runs together in one run folder.

    A part whose name is taken already gets a number.

    Returns:
        The expected parts that no run has.
    """
    shards = [shard for run in runs for shard in sorted(run.glob("shards/*")) if shard.is_dir()]
    (out / "shards").mkdir(parents=True, exist_ok=True)
    for shard in shards:
        if shard.parent.samefile(out / "shards"):
            continue  # it is there already
        target = _find_free_path(out / "shards" / shard.name)
        if move:
            shutil.move(shard, target)
        else:
            shutil.copytree(shard, target)
    found = {
        shard.name.partition("-gw")[0] for shard in shards
    }  # a part of pytest-xdist has a worker's number
    return sorted(set(expected) - found)


def _find_free_path(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _link_latest(folder: Path) -> None:
    draft = folder.parent / f".{LATEST}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name, target_is_directory=True)
    draft.replace(folder.parent / LATEST)
