"""The work of ``parity replay``."""

from __future__ import annotations

import argparse
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from vlm_parity.models.registry import FAMILIES
from vlm_parity.models.required_files import is_checkpoint
from vlm_parity.releases.environment import measure_disk_usage
from vlm_parity.replay.catalog import Replay, load_replays
from vlm_parity.replay.page import print_replays, write_replays
from vlm_parity.replay.record import REPLAYS_FILE, ReplayRecord, ReplayRow
from vlm_parity.replay.run import run_replay
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.record import write_record
from vlm_parity.schema.suite_layout import CONVERSATIONS, REPLAYS
from vlm_parity.util.cache_dir import ensure_writable_cache
from vlm_parity.util.child_process import run_in_threads
from vlm_parity.util.errors import ReplayError, UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED
from vlm_parity.util.option_paths import check_folder, check_output_folder, find_folder
from vlm_parity.util.suggestions import describe_unknown_name
from vlm_parity.util.terminal import print_text
from vlm_parity.util.writable_folder import ensure_writable_run


def run_replays(args: argparse.Namespace, timestamp: str, console: Console) -> int:
    """Run the selected replays and return the exit code.

    Raises:
        UsageError: no replay has a name, a file of a replay does not fit its schema, or the run folder or the
            cache cannot be written.
    """
    check_folder("--suite", args.suite)
    replays = _select_replays(args)
    if args.list:
        for replay in replays:
            releases = ", ".join(replay.releases)
            print_text(console, f"{replay.name:32} {releases}: {replay.title}")
        return PASSED
    run: Path = args.run_folder or Path("reports") / f"{timestamp}-replays"
    run = run.resolve()
    check_output_folder("--run", run)
    for replay in replays:
        _check_replay(replay, args.suite, args.media_root)
    ensure_writable_run(run)
    ensure_writable_cache()
    record = _run_replays(replays, run, args, console)
    write_replays(run, record)
    publish_report(run)
    print_replays(record, run, console)
    if record.passes:
        return PASSED
    return FAILED if record.is_complete else NOT_COMPARED


def _select_replays(args: argparse.Namespace) -> list[Replay]:
    replays = load_replays(args.suite / REPLAYS)
    patterns = args.names or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in replays):
            raise UsageError(describe_unknown_name("NAME", pattern, replays, "matches none of the replays"))
    return [
        replay for name, replay in replays.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _check_replay(replay: Replay, suite: Path, media_roots: list[Path]) -> None:
    """Check the case and the model of a replay.

    Raises:
        CaseError: there is no such case, or it does not fit the schema.
        ReplayError: the model is neither a family nor the folder of a checkpoint.
    """
    replay.resolve_case(suite / CONVERSATIONS, media_roots)
    folder = find_folder(replay.model)
    if replay.model not in FAMILIES and (folder is None or not is_checkpoint(folder)):
        problem = "neither a family nor the folder of a checkpoint"
        place = f"{replay.name}: model"
        raise ReplayError(describe_unknown_name(place, replay.model, FAMILIES, problem, listing="families"))


def _run_replays(
    replays: list[Replay], run: Path, args: argparse.Namespace, console: Console
) -> ReplayRecord:
    """Run several replays at a time; the record is stored after each release."""
    start, lock = time.monotonic(), threading.Lock()
    rows: dict[str, ReplayRow] = {}

    def build_record() -> ReplayRecord:
        finished = tuple(rows[replay.name] for replay in replays if replay.name in rows)
        environments = {
            answer.environment for row in finished for answer in row.answers if answer.environment
        }
        return ReplayRecord(
            rows=finished,
            expected=len(replays),
            seconds=time.monotonic() - start,
            bytes=measure_disk_usage(environments),
        )

    def store(row: ReplayRow) -> None:
        with lock:
            rows[row.replay.name] = row
            write_record(run / REPLAYS_FILE, build_record())
            last = row.rows[-1].answer if row.rows else None
            result = row.problem or (f"{last.release}: {last.problem or last.outcome_text}" if last else "")
            _print_progress(console, row.replay.name, result)

    def run_one(replay: Replay) -> None:
        def log(line: str) -> None:
            _print_progress(console, replay.name, line)

        run_replay(replay, run, args.suite, log, store, args.media_root)

    run_in_threads(run_one, replays, args.jobs)
    return build_record()


def _print_progress(console: Console, name: str, line: str) -> None:
    print_text(console, f"[{name}] {line}")
