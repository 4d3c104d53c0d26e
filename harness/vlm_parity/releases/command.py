"""``parity bisect`` and ``parity history``: what is asked, in which order, and what is written when."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.arguments import (
    build_series,
    check_release_options,
    get_end_releases,
    get_releases,
    parse_version,
)
from vlm_parity.releases.bisect import Bisection, bisect_releases_between
from vlm_parity.releases.environment import measure_disk_usage
from vlm_parity.releases.history import HISTORY_FILE, History
from vlm_parity.releases.package_index import sort_releases
from vlm_parity.releases.page import print_history, write_history
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.record import write_record
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED


class _ReleaseRunner:
    """Asks along a line, and writes what is known whenever an answer comes."""

    def __init__(self, chosen: argparse.Namespace, now: str, console: Console) -> None:
        self._console = console
        self._start, self._lock = time.monotonic(), threading.Lock()
        self.run: Path = (chosen.run_folder or Path("reports") / f"{now}-{chosen.backend}").resolve()
        line = build_series(chosen, self.run, self.say)
        self.line, of_reference = line.with_reference(self.say)
        failed = [answer for answer in of_reference if not answer.has_verdict]
        if failed:
            raise UsageError(f"--reference-version {line.reference}: {failed[0].problem or failed[0].reason}")
        self.history = History(
            title="",
            command=shlex.join(["parity", *sys.argv[1:]]),
            backend=chosen.backend,
            varied=line.varied,
            held=dict(line.held),
            model=chosen.model,
            cases=line.question.cases,
            releases=(),
            answers=(),
            expected=0,
        )

    def say(self, words: str) -> None:
        self._console.print(escape(words), highlight=False, soft_wrap=True)

    def ask(self, version: str) -> list[ReleaseAnswer]:
        answers = self.line.ask(version, self.say)
        with self._lock:
            self.note(answers=(*self.history.answers, *answers))
            for answer in answers:
                self.say(
                    f"[{self.line.varied} {version}] {answer.case}: {answer.problem or answer.outcome_text}"
                )
        return answers

    def note(self, **changes: object) -> None:
        """Changes the record, and writes it."""
        used = {each.environment for each in self.history.answers if each.environment}
        took = {"seconds": time.monotonic() - self._start, "bytes": measure_disk_usage(used)}
        self.history = self.history.model_copy(update={**changes, **took})
        write_record(self.run / HISTORY_FILE, self.history)

    def finish(self) -> None:
        write_history(self.run, self.history)
        publish_report(self.run)
        print_history(self.history, self.run, self._console)


def run_bisect(chosen: argparse.Namespace, now: str, console: Console) -> int:
    """Finds the release in which a case changed; returns the exit code.

    Raises:
        UsageError: an option names something that is not there.
    """
    check_release_options(chosen)
    first, last = get_end_releases(chosen)
    releases = get_releases(chosen, first, last)
    if len(releases) < 2:
        raise UsageError(
            f"there is nothing between {first} and {last}: {', '.join(releases) or 'no release'}"
        )
    asking = _ReleaseRunner(chosen, now, console)
    asking.note(title=f"bisection of {chosen.case}, {first} to {last}", releases=releases)
    found = bisect_releases_between(releases, lambda release: asking.ask(release)[0])
    asking.note(result=_format_result(found), expected=len(found.answers))
    asking.finish()
    return _select_exit_code(found, chosen.good)


def run_history(chosen: argparse.Namespace, now: str, console: Console) -> int:
    """Asks every release; returns the exit code.

    Raises:
        UsageError: an option names something that is not there.
    """
    check_release_options(chosen)
    if chosen.releases:
        releases = tuple(sort_releases([parse_version(each) for each in chosen.releases.split(",")]))
    else:
        releases = get_releases(chosen, *get_end_releases(chosen))
    asking = _ReleaseRunner(chosen, now, console)
    asking.note(title="history", releases=releases, expected=len(releases))
    with ThreadPoolExecutor(max_workers=chosen.jobs) as pool:
        for _ in pool.map(asking.ask, releases):
            pass
    asking.finish()
    return NOT_COMPARED if asking.history.unanswered else PASSED


def _format_result(found: Bisection) -> str:
    first, last = (found.answers[found.releases[place]] for place in (0, -1))
    if not found.changed:
        unasked = [answer for answer in (first, last) if not answer.has_verdict]
        if unasked:
            return f"{unasked[0].release} could not be asked, so there is nothing to go by"
        return f"{first.release} and {last.release} are alike: {first.outcome_text}"
    before, after = found.answers[found.last_equal], found.answers[found.changed]
    words = f"{found.changed} is the release in which it changed: {before.outcome_text} in {before.release}, "
    words += f"{after.outcome_text} in {after.release}; {len(found.answers)} of {len(found.releases)} releases asked"
    if found.unanswered:
        words += f". It may have changed in {', '.join(found.unanswered)} already, which could not be asked"
    return words


def _select_exit_code(found: Bisection, good: str | None) -> int:
    if not found.changed:
        ends = (found.answers[found.releases[place]] for place in (0, -1))
        return FAILED if all(answer.has_verdict for answer in ends) else NOT_COMPARED
    if good is not None and found.answers[good].kind is not VerdictKind.MATCH:
        return FAILED
    return NOT_COMPARED if found.unanswered else PASSED
