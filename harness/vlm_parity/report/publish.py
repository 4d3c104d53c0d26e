"""Publication of a run: its pages, the ``latest`` link, and the merging of shards of several runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from vlm_parity.report.html import REPORT_FILE, write_report
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.run_changes import CompareRun
from vlm_parity.report.run_files import SHARDS, find_special_files
from vlm_parity.report.summarize_run import summarize_run
from vlm_parity.report.summary import INDEX_FILE
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SHARD_RECORD
from vlm_parity.schema.shard_folder import hold_finished, is_held
from vlm_parity.schema.trace import Stage
from vlm_parity.util.errors import UsageError
from vlm_parity.util.text import escape_terminal
from vlm_parity.verdicts.known_issues import (
    KnownIssue,
    apply_known_issues,
    describe_issues,
    match_counts,
    remove_known_issues,
)

LATEST = "latest"


def publish_report(folder: Path, compare: CompareRun | None = None) -> LoadedRun:
    """Load a run folder, write its pages and ``report.json``, and link ``latest`` to it.

    If a session replaces a shard meanwhile, the report is written again, so none passes for the earlier one.

    Args:
        folder: the run folder.
        compare: compares the run with a baseline; its changes are the first section of the index.
    """
    while True:
        before = list(_describe_shards(folder))
        run = load_run(folder)
        write_report(run, compare(summarize_run(run)) if compare is not None else None)
        if not run.passes or list(_describe_shards(folder)) == before:
            break
    _link_latest(folder.resolve())
    return run


def _describe_shards(folder: Path) -> Iterator[tuple[str, bool, int | None]]:
    """Yield the name of each shard, whether a session is writing it, and the time of its record."""
    for shard in sorted((folder / SHARDS).glob("*/")):
        record = shard / SHARD_RECORD
        yield shard.name, is_held(shard), record.stat().st_mtime_ns if record.exists() else None


def withdraw_report(folder: Path) -> None:
    """Remove the index and ``report.json`` of a run that is about to change.

    If the change is cut off, no report of the earlier state is taken for one of the present state.

    Raises:
        UsageError: one of them is a folder.
    """
    for name in (REPORT_FILE, INDEX_FILE):
        path = folder / name
        if path.is_dir():
            raise UsageError(f"{path}: a folder in place of the report; remove it, or write into another run")
        path.unlink(missing_ok=True)


def apply_known_issues_to_run(folder: Path, known_issues: tuple[KnownIssue, ...]) -> None:
    """Decide the verdicts of a run again, with other known issues, and store them.

    No engine starts, and nothing is compared. Each verdict stays in its file, whatever its names are.
    """
    today = datetime.now(UTC).date()
    for shard in load_run(folder).shards:
        if shard.record is None:
            continue  # a problem of the run
        before = [remove_known_issues(entry.verdict) for entry in shard.verdicts]
        for entry, verdict in zip(shard.verdicts, before, strict=True):
            if len({diff.stage for diff in verdict.stages}) < len(Stage):
                continue  # a problem of the run, too
            write_record(entry.path, apply_known_issues(verdict, known_issues, today))
        counts = match_counts(known_issues, before) if shard.record.known_issues else {}
        update = {"known_issues": counts, "issue_descriptions": describe_issues(known_issues)}
        write_record(shard.folder / SHARD_RECORD, shard.record.model_copy(update=update))


@contextmanager
def hold_shards(runs: Collection[Path], out: Path, *, move: bool, rewrite: bool) -> Iterator[None]:
    """Keep sessions from writing the shards that are copied, moved or rewritten during a block.

    Args:
        runs: run folders to merge.
        out: the run folder to write; its own shards may still be running unless they are rewritten.
        move: whether shards are moved.
        rewrite: whether verdicts are decided again.

    Raises:
        UsageError: a session is writing one of them, or they cannot be merged, as in ``merge_runs``.
    """
    _check_shards(_list_shards(runs), out)
    own = set(_list_shards([out.resolve()]))
    merged = set(_list_shards(run.resolve() for run in runs)) - own
    with ExitStack() as stack:
        for shard in sorted({*merged, *(own if rewrite else ())}):
            stack.enter_context(hold_finished(shard, shared=not move and shard in merged))
        yield


def merge_runs(runs: Iterable[Path], out: Path, *, move: bool, required: Iterable[str]) -> list[str]:
    """Copy or move the shards of several runs into one run folder.

    A shard whose name is already used gets a number. Symbolic links within a shard stay links; they are
    problems of the run.

    Args:
        runs: run folders.
        out: the run folder to write.
        move: move the shards instead of copying them.
        required: names of shards that must exist.

    Returns:
        The required shards that no run has.

    Raises:
        UsageError: a shard is a symbolic link or holds a file that cannot be copied, or ``out`` leads its
            shards elsewhere. Nothing was copied or moved.
    """
    shards = _list_shards(runs)
    _check_shards(shards, out)
    (out / SHARDS).mkdir(parents=True, exist_ok=True)
    for shard in shards:
        if shard.parent.samefile(out / SHARDS):
            continue  # already in place
        target = _find_free_path(out / SHARDS / shard.name)
        if move:
            shutil.move(shard, target)
        else:
            shutil.copytree(shard, target, symlinks=True)
    # The shard of a pytest-xdist worker ends with its number: vllm-gw0.
    names = {shard.name.partition("-gw")[0] for shard in shards}
    return sorted(set(required) - names)


def _list_shards(runs: Iterable[Path]) -> list[Path]:
    return [shard for run in runs for shard in sorted(run.glob(f"{SHARDS}/*")) if shard.is_dir()]


def _check_shards(shards: Iterable[Path], out: Path) -> None:
    links = [folder for folder in (out / SHARDS, *shards, *(s.parent for s in shards)) if folder.is_symlink()]
    if links:
        raise UsageError(
            f"{links[0]}: a symbolic link, which is not followed: name the run that holds the shard"
        )
    for shard in shards:
        for path in find_special_files(shard):
            raise UsageError(f"{path}: neither a file nor a folder, so the shard is not merged; remove it")


def _find_free_path(path: Path) -> Path:
    number, free = 1, path
    while free.exists() or free.is_symlink():
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
        sentence = f"warning: {folder.parent / LATEST} is not linked to this run: {error.strerror}"
        sys.stderr.write(f"{escape_terminal(sentence)}\n")
        with suppress(OSError):
            draft.unlink(missing_ok=True)
