"""Publication of a run: its pages, the ``latest`` link, and the merging of shards of several runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.report.html import REPORT_FILE, write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.summary import INDEX_FILE
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SHARD_RECORD, get_verdict_path
from vlm_parity.util.text import escape_terminal
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues, match_counts, remove_known_issues

LATEST = "latest"


def publish_report(folder: Path) -> LoadedRun:
    """Load a run folder, write its pages and ``report.json``, and link ``latest`` to it."""
    run = load_run(folder)
    write_report(run)
    _link_latest(folder.resolve())
    return run


def withdraw_report(folder: Path) -> None:
    """Remove the index and ``report.json`` of a run that is about to change.

    If the change is cut off, no report of the earlier state is taken for one of the present state.
    """
    for name in (REPORT_FILE, INDEX_FILE):
        with suppress(IsADirectoryError):  # not ours; to publish the report will fail
            (folder / name).unlink(missing_ok=True)


def apply_known_issues_to_run(folder: Path, known_issues: tuple[KnownIssue, ...]) -> None:
    """Decide the verdicts of a run again, with other known issues, and store them.

    No engine starts, and nothing is compared.
    """
    today = datetime.now(UTC).date()
    for shard in load_run(folder).shards:
        before = [remove_known_issues(entry.verdict) for entry in shard.verdicts]
        for verdict in before:
            write_record(
                get_verdict_path(shard.folder, verdict), apply_known_issues(verdict, known_issues, today)
            )
        if shard.record is not None and shard.record.known_issues:
            record = shard.record.model_copy(update={"known_issues": match_counts(known_issues, before)})
            write_record(shard.folder / SHARD_RECORD, record)


def merge_runs(runs: Iterable[Path], out: Path, *, move: bool, required: Iterable[str]) -> list[str]:
    """Copy or move the shards of several runs into one run folder.

    A shard whose name is already used gets a number.

    Args:
        runs: run folders.
        out: the run folder to write.
        move: move the shards instead of copying them.
        required: names of shards that must exist.

    Returns:
        The required shards that no run has.
    """
    shards = [shard for run in runs for shard in sorted(run.glob("shards/*")) if shard.is_dir()]
    (out / "shards").mkdir(parents=True, exist_ok=True)
    for shard in shards:
        if shard.parent.samefile(out / "shards"):
            continue  # already in place
        target = _find_free_path(out / "shards" / shard.name)
        if move:
            shutil.move(shard, target)
        else:
            shutil.copytree(shard, target)
    # The shard of a pytest-xdist worker ends with its number: vllm-gw0.
    names = {shard.name.partition("-gw")[0] for shard in shards}
    return sorted(set(required) - names)


def _find_free_path(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _link_latest(folder: Path) -> None:
    """Link ``latest`` to a run beside it; a failure costs a warning, since the report is complete."""
    if folder.name == LATEST:
        return
    draft = folder / f".{LATEST}.{os.getpid()}"  # if this process is killed, nothing is left beside the run
    try:
        draft.unlink(missing_ok=True)
        draft.symlink_to(folder.name, target_is_directory=True)
        draft.replace(folder.parent / LATEST)
    except OSError as error:
        latest = escape_terminal(str(folder.parent / LATEST))
        sys.stderr.write(f"warning: {latest} is not linked to this run: {error.strerror}\n")
        with suppress(OSError):
            draft.unlink(missing_ok=True)
