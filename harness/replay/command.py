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

from harness.record import write_record
from harness.releases.environment import disk_of
from harness.releases.use import DONE, NOT_ASKED, OTHERWISE, WrongUse
from harness.replay.catalogue import BadReplay, Replay, load_replays
from harness.replay.record import REPLAYS_FILE, ReplayRow, Replays
from harness.replay.run import carry_out
from harness.report.publish import publish
from harness.report.replays import print_replays, write_replays


def replay(chosen: argparse.Namespace, now: str, console: Console) -> int:
    """Replays the bugs that were chosen.

    Returns:
        The exit code: whether each showed what it had to.

    Raises:
        WrongUse: there is no such bug, or a file does not fit.
    """
    bugs = _chosen(chosen)
    if chosen.list:
        for bug in bugs:
            console.print(escape(f"{bug.name:32} {', '.join(bug.releases)}: {bug.title}"), highlight=False)
        return DONE
    run: Path = chosen.run_folder or Path("reports") / f"{now}-replays"
    run = run.resolve()
    found = _carry_out(bugs, run, chosen, console)
    write_replays(run, found)
    publish(run)
    print_replays(found, run, console)
    if found.passes:
        return DONE
    return OTHERWISE if found.answered else NOT_ASKED


def _chosen(chosen: argparse.Namespace) -> list[Replay]:
    try:
        replays = load_replays(chosen.cases / "replays")
    except BadReplay as problem:
        raise WrongUse(str(problem)) from None
    patterns = chosen.bugs or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in replays):
            raise WrongUse(f"{pattern}: fits none of: {', '.join(replays)}")
    return [each for name, each in replays.items() if any(fnmatchcase(name, one) for one in patterns)]


def _carry_out(bugs: list[Replay], run: Path, chosen: argparse.Namespace, console: Console) -> Replays:
    """Several at a time; what is known is written whenever something more is."""
    start, lock = time.monotonic(), threading.Lock()
    rows: dict[str, ReplayRow] = {}

    def so_far() -> Replays:
        known = tuple(rows[bug.name] for bug in bugs if bug.name in rows)
        used = {answer.environment for row in known for answer in row.answers if answer.environment}
        return Replays(rows=known, expected=len(bugs), seconds=time.monotonic() - start, bytes=disk_of(used))

    def note(row: ReplayRow) -> None:
        with lock:
            rows[row.replay.name] = row
            write_record(run / REPLAYS_FILE, so_far())
            last = row.rows[-1].answer if row.rows else None
            words = row.problem or (f"{last.release}: {last.problem or last.words}" if last else "")
            _say(console, row.replay.name, words)

    def one(bug: Replay) -> None:
        carry_out(bug, run, chosen.cases, lambda line: _say(console, bug.name, line), note)

    with ThreadPoolExecutor(max_workers=chosen.jobs) as pool:
        for _ in pool.map(one, bugs):
            pass
    return so_far()


def _say(console: Console, name: str, words: str) -> None:
    console.print(escape(f"[{name}] {words}"), highlight=False, soft_wrap=True)
