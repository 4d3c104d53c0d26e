"""``parity replay``: which replays, and what is written when."""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlm_parity.releases.environment import measure_disk_usage
from vlm_parity.replay.catalogue import Replay, load_replays
from vlm_parity.replay.page import print_replays, write_replays
from vlm_parity.replay.record import REPLAYS_FILE, ReplayRecord, ReplayRow
from vlm_parity.replay.run import run_replay
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.record import write_record
from vlm_parity.util.errors import ReplayError, UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED


def run_replays(chosen: argparse.Namespace, now: str, console: Console) -> int:
    """Replays the bugs that were chosen.

    Returns:
        The exit code: whether each showed what it had to.

    Raises:
        UsageError: there is no such bug, or a file does not fit.
    """
    bugs = _select_replays(chosen)
    if chosen.list:
        for bug in bugs:
            console.print(escape(f"{bug.name:32} {', '.join(bug.releases)}: {bug.title}"), highlight=False)
        return PASSED
    run: Path = chosen.run_folder or Path("reports") / f"{now}-replays"
    run = run.resolve()
    found = _run_replays(bugs, run, chosen, console)
    write_replays(run, found)
    publish_report(run)
    print_replays(found, run, console)
    if found.passes:
        return PASSED
    return FAILED if found.answered else NOT_COMPARED


def _select_replays(chosen: argparse.Namespace) -> list[Replay]:
    try:
        replays = load_replays(chosen.suite / "replays")
    except ReplayError as problem:
        raise UsageError(str(problem)) from None
    patterns = chosen.bugs or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in replays):
            raise UsageError(f"{pattern}: fits none of: {', '.join(replays)}")
    return [each for name, each in replays.items() if any(fnmatchcase(name, one) for one in patterns)]


def _run_replays(bugs: list[Replay], run: Path, chosen: argparse.Namespace, console: Console) -> ReplayRecord:
    """Several at a time; what is known is written whenever something more is."""
    start, lock = time.monotonic(), threading.Lock()
    rows: dict[str, ReplayRow] = {}

    def so_far() -> ReplayRecord:
        known = tuple(rows[bug.name] for bug in bugs if bug.name in rows)
        used = {answer.environment for row in known for answer in row.answers if answer.environment}
        return ReplayRecord(
            rows=known, expected=len(bugs), seconds=time.monotonic() - start, bytes=measure_disk_usage(used)
        )

    def note(row: ReplayRow) -> None:
        with lock:
            rows[row.replay.name] = row
            write_record(run / REPLAYS_FILE, so_far())
            last = row.rows[-1].answer if row.rows else None
            words = row.problem or (f"{last.release}: {last.problem or last.outcome_text}" if last else "")
            _print_progress(console, row.replay.name, words)

    def one(bug: Replay) -> None:
        run_replay(bug, run, chosen.suite, lambda line: _print_progress(console, bug.name, line), note)

    with ThreadPoolExecutor(max_workers=chosen.jobs) as pool:
        for _ in pool.map(one, bugs):
            pass
    return so_far()


def _print_progress(console: Console, name: str, words: str) -> None:
    console.print(escape(f"[{name}] {words}"), highlight=False, soft_wrap=True)
