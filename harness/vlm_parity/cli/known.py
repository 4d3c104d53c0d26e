"""``parity known``: the verdicts that each known issue explains, and what could hide behind it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_paths import check_folder
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.verdicts.known_coverage import Coverage

_DESCRIPTION = """\
Print, for each known issue, the verdicts of a run that it explains, their causes, and the stages behind the
difference at which a second fault would not be seen. Entries that are broader than their evidence are
warned of.

  parity known reports/latest
  parity known reports/latest --known-issues my_cases/known_issues.toml
"""
_EXIT_CODES = """\
exit codes:
  0  no entry is warned of
  1  an entry explains nothing in this run, any cause, or any size
  2  usage error: no such run, or the file of known issues cannot be read
"""


def add_commands(commands: Commands) -> None:
    """Add ``known``."""
    parser = add_command(
        commands,
        "known",
        _show_coverage,
        summary="print what each known issue explains in a run, and what it may hide",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    parser.add_argument("folder", type=parse_path, metavar="RUN", help="run folder, such as reports/latest")
    parser.add_argument(
        "--known-issues",
        type=parse_path,
        metavar="FILE",
        default=Path("cases/known_issues.toml"),
        help="file of known issues (default: %(default)s)",
    )


def _show_coverage(args: argparse.Namespace) -> int:
    from vlm_parity.report.load_run import load_run
    from vlm_parity.verdicts.known_coverage import measure_coverage
    from vlm_parity.verdicts.known_issues import read_known_issues

    check_folder("RUN", args.folder)
    run = load_run(args.folder)
    if run.problems:
        raise UsageError(f"{args.folder}: {run.problems[0]}")
    coverages = measure_coverage(
        read_known_issues(args.known_issues), (entry.verdict for entry in run.verdicts)
    )
    for coverage in coverages:
        for line in _format_coverage(coverage):
            _print(line)
    warned = sum(any(True for _ in coverage.warnings) for coverage in coverages)
    explained = sum(len(coverage.verdicts) for coverage in coverages)
    _print(f"Known issues: {len(coverages)}; differences explained: {explained}; warned of: {warned}.")
    return FAILED if warned else PASSED


def _format_coverage(coverage: Coverage) -> Iterator[str]:
    targets = Counter(f"{verdict.model} in {verdict.label}" for verdict in coverage.verdicts)
    yield f"{coverage.issue.name} at {coverage.issue.stage}: {_format_counts(targets)}"
    for title, names in (
        ("causes", coverage.causes),
        ("may follow from it", coverage.following),
        ("not compared behind it", coverage.not_compared),
    ):
        if names:
            yield f"    {title}: {_format_counts({str(name): count for name, count in names.items()})}"
    for warning in coverage.warnings:
        yield f"    warning: {warning}"


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "no verdict"


def _print(line: str) -> None:
    sys.stdout.write(f"{escape_terminal(line)}\n")
