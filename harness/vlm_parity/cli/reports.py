"""``parity reports``: public reports of parity bugs, and how many of them are found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.cli.run_pair import write_json, write_text
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.public_reports.catalog import PublicReport

_DESCRIPTION = """\
List public reports of parity bugs (cases/reports/): which of them can be written as a case, and which are
found where they live, at the right stage, with the right cause.

  parity reports                                   the list, with the command that asks each report
  parity reports --json reports.json               the same for scripts
  parity reports --run reports/latest              hold a run against what the catalog says
  parity reports --markdown docs/results/public_reports.md
"""
_EXIT_CODES = """\
exit codes:
  0  done; with --run, every report that the run asked is found as the catalog says
  1  with --run: a report is found otherwise, or no longer
  2  usage error: no such run, or a file of the catalog does not fit the schema
"""


def add_commands(commands: Commands) -> None:
    """Add ``reports``."""
    parser = add_command(
        commands,
        "reports",
        _show_reports,
        summary="list public reports of parity bugs, and how many of them are found",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    parser.add_argument(
        "--reports",
        type=parse_path,
        metavar="DIR",
        default=Path("cases/reports"),
        help="folder of the catalog (default: %(default)s)",
    )
    parser.add_argument(
        "--run",
        dest="folder",
        type=parse_path,
        metavar="RUN",
        help="run folder to hold the catalog against",
    )
    parser.add_argument(
        "--json", type=parse_path, metavar="FILE", help="write the reports and the counts as JSON"
    )
    parser.add_argument("--markdown", type=parse_path, metavar="FILE", help="write the catalog as a page")


def _show_reports(args: argparse.Namespace) -> int:
    from vlm_parity.public_reports.catalog import load_public_reports
    from vlm_parity.public_reports.page import format_recall, render_page
    from vlm_parity.public_reports.recall import count_recall

    reports = list(load_public_reports(args.reports).values())
    recall = count_recall(reports)
    if args.markdown is not None:
        write_text(args.markdown, render_page(reports))
    if args.json is not None:
        listed = [
            {**report.model_dump(mode="json", exclude_defaults=True), "command": report.command}
            for report in reports
        ]
        write_json(args.json, {"recall": recall.model_dump(), "reports": listed})
    for report in reports:
        _print_report(report)
    _print("")
    _print(format_recall(recall))
    return PASSED if args.folder is None else _check_run(args.folder, reports)


def _print_report(report: PublicReport) -> None:
    if not report.is_written:
        _print(f"{report.name}: cannot be written: {report.missing}")
        return
    found = "found" if report.has_right_cause else "found elsewhere" if report.is_found else "NOT FOUND"
    outcome = f"{report.status}, {found}" if report.is_live else report.status
    _print(f"{report.name}: {outcome}: {report.title}")
    _print(f"    {report.command}")


def _check_run(run: Path, reports: list[PublicReport]) -> int:
    from vlm_parity.public_reports.recall import find_deviations
    from vlm_parity.report.load_run import load_run
    from vlm_parity.util.option_paths import check_folder

    check_folder("--run", run)
    loaded = load_run(run)
    if loaded.problems:
        raise UsageError(f"{run}: {loaded.problems[0]}")
    deviations = list(find_deviations(reports, (entry.verdict for entry in loaded.verdicts)))
    for deviation in deviations:
        sys.stderr.write(f"{escape_terminal(deviation)}\n")
    return FAILED if deviations else PASSED


def _print(text: str) -> None:
    sys.stdout.write(f"{escape_terminal(text)}\n")
