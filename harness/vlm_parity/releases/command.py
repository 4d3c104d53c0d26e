"""The work of ``parity bisect`` and ``parity history``."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
import time
from pathlib import Path

from rich.console import Console

from vlm_parity.releases.answer import ReleaseAnswer
from vlm_parity.releases.arguments import (
    build_series,
    check_release_options,
    get_end_releases,
    get_listed_releases,
    get_releases_between,
)
from vlm_parity.releases.bisect import Bisection, bisect_releases_between
from vlm_parity.releases.environment import measure_disk_usage
from vlm_parity.releases.history import HISTORY_FILE, History
from vlm_parity.releases.page import print_history, write_history
from vlm_parity.report.publish import publish_report
from vlm_parity.schema.record import write_record
from vlm_parity.schema.verdict import VerdictKind
from vlm_parity.util.child_process import run_in_threads
from vlm_parity.util.errors import MissingTraceError, UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED
from vlm_parity.util.terminal import print_text

_FEWEST_RELEASES = 2


class _ReleaseRunner:
    """Runs releases of a series and stores the history after each answer."""

    def __init__(
        self, args: argparse.Namespace, cases: tuple[str, ...], run_folder: Path, console: Console
    ) -> None:
        self._console = console
        self._start, self._lock = time.monotonic(), threading.Lock()
        self.run_folder = run_folder
        series = build_series(args, cases, run_folder, self.log)
        self.series, reference_answers = series.capture_reference(self.log)
        failed = [answer for answer in reference_answers if not answer.has_verdict]
        if failed:
            raise MissingTraceError(
                f"--reference-version {series.reference}: {failed[0].problem or failed[0].reason}"
            )
        self.history = History(
            title="",
            command=shlex.join(["parity", *sys.argv[1:]]),
            backend=args.backend,
            varied_package=series.varied_package,
            fixed_versions=dict(series.fixed_versions),
            model=args.model,
            cases=series.query.cases,
            releases=(),
            answers=(),
            expected=0,
        )

    def log(self, line: str) -> None:
        print_text(self._console, line)

    def run_release(self, version: str) -> list[ReleaseAnswer]:
        answers = self.series.run_release(version, self.log)
        with self._lock:
            self.update(answers=(*self.history.answers, *answers))
            for answer in answers:
                result = answer.problem or answer.outcome_text
                self.log(f"[{self.series.varied_package} {version}] {answer.case}: {result}")
        return answers

    def update(self, **changes: object) -> None:
        """Change fields of the history and store it."""
        environments = {answer.environment for answer in self.history.answers if answer.environment}
        usage = {"seconds": time.monotonic() - self._start, "bytes": measure_disk_usage(environments)}
        self.history = self.history.model_copy(update={**changes, **usage})
        write_record(self.run_folder / HISTORY_FILE, self.history)

    def finish(self) -> None:
        """Write the report and the page, and print the result."""
        write_history(self.run_folder, self.history)
        publish_report(self.run_folder)
        print_history(self.history, self.run_folder, self._console)


def run_bisect(args: argparse.Namespace, timestamp: str, console: Console) -> int:
    """Find the release in which a case changed and return the exit code.

    Raises:
        EnvironmentBuildError, MissingTraceError, UnknownModelError: there is nothing to compare.
        PackageIndexError: the releases cannot be listed.
        UsageError: an option names something that does not exist or cannot be written.
    """
    run = _get_run_folder(args, timestamp)
    first, last = get_end_releases(args)
    cases = check_release_options(args, run)
    releases = get_releases_between(args, first, last)
    if len(releases) < _FEWEST_RELEASES:
        raise UsageError(
            f"fewer than two releases from {first} to {last}: {', '.join(releases) or 'no release'}"
        )
    runner = _ReleaseRunner(args, cases, run, console)
    runner.update(title=f"bisection of {args.case}, {first} to {last}", releases=releases)
    bisection = bisect_releases_between(releases, lambda release: runner.run_release(release)[0])
    runner.update(result=_format_result(bisection), expected=len(bisection.answers))
    runner.finish()
    return _select_exit_code(bisection, args.good)


def run_history(args: argparse.Namespace, timestamp: str, console: Console) -> int:
    """Run every release and return the exit code.

    Raises:
        EnvironmentBuildError, MissingTraceError, UnknownModelError: there is nothing to compare.
        PackageIndexError: the releases cannot be listed.
        UsageError: an option names something that does not exist or cannot be written.
    """
    run = _get_run_folder(args, timestamp)
    ends = None if args.releases else get_end_releases(args)
    cases = check_release_options(args, run)
    releases = get_listed_releases(args) if ends is None else get_releases_between(args, *ends)
    if not releases:
        raise UsageError(f"no release of {args.vary or args.backend} from {args.first} to {args.last}")
    runner = _ReleaseRunner(args, cases, run, console)
    runner.update(title="history", releases=releases, expected=len(releases))
    run_in_threads(runner.run_release, releases, args.jobs)
    runner.finish()
    return NOT_COMPARED if runner.history.unanswered else PASSED


def _get_run_folder(args: argparse.Namespace, timestamp: str) -> Path:
    run: Path = args.run_folder or Path("reports") / f"{timestamp}-{args.backend}"
    return run.resolve()


def _format_result(bisection: Bisection) -> str:
    first, last = (bisection.answers[bisection.releases[index]] for index in (0, -1))
    if not bisection.first_changed:
        failed = [answer for answer in (first, last) if not answer.has_verdict]
        if failed:
            return f"{failed[0].release} could not be run, so there is nothing to compare with"
        return f"{first.release} and {last.release} have the same outcome: {first.outcome_text}"
    before, after = bisection.answers[bisection.last_equal], bisection.answers[bisection.first_changed]
    sentence = (
        f"{after.release} is the release in which it changed: {before.outcome_text} in {before.release}, "
        f"{after.outcome_text} in {after.release}; {len(bisection.answers)} of {len(bisection.releases)} "
        "releases run"
    )
    if bisection.unanswered:
        sentence += (
            f". It may have changed in {', '.join(bisection.unanswered)} already, which could not be run"
        )
    return sentence


def _select_exit_code(bisection: Bisection, good: str | None) -> int:
    if not bisection.first_changed:
        ends = (bisection.answers[bisection.releases[index]] for index in (0, -1))
        return FAILED if all(answer.has_verdict for answer in ends) else NOT_COMPARED
    if good is not None and bisection.answers[good].kind is not VerdictKind.MATCH:
        return FAILED
    return NOT_COMPARED if bisection.unanswered else PASSED
