"""``parity trends``: results, distances and times over many runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vlm_parity.cli.baseline import read_run_folder
from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.cli.store_option import add_store_option, print_migration
from vlm_parity.store.location import open_store, require_packages
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import PASSED
from vlm_parity.util.option_paths import check_output_folder
from vlm_parity.util.option_types import parse_count, parse_path
from vlm_parity.util.terminal import print_text

if TYPE_CHECKING:
    from vlm_parity.changes.run_summary import RunSummary

_DESCRIPTION = """\
Write a page of the results of many runs: a calendar by model and backend, the changes of each run with the
packages that changed and the command that bisects them, steps in distances before they cross a limit, and the
time of engine loads. No engine starts.

  parity trends                                       the newest runs of the store
  parity trends --last 60 --store postgresql://host/parity --out reports/trends
  parity trends reports/2026* --out reports/trends    run folders
"""
_EXIT_CODES = """\
exit codes:
  0  the page is written, whatever it shows; `parity gate` passes or fails a run
  2  usage error: a run does not exist or holds no shard, the store does not exist or is not supported, or the
     page cannot be written
  3  the store cannot be reached or read
"""


def add_commands(commands: Commands) -> None:
    """Add ``trends``."""
    parser = add_command(
        commands,
        "trends",
        _write_trends,
        summary="show results, distances and times over many runs",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="*",
        type=parse_path,
        metavar="RUN",
        help="run folder, in any order (default: the store)",
    )
    add("--last", type=parse_count, default=30, metavar="N", help="runs of the store (default: %(default)s)")
    add_store_option(parser)
    add(
        "--out",
        type=parse_path,
        default=Path("reports", "trends"),
        metavar="DIR",
        help="folder to write the page into (default: %(default)s)",
    )


def _write_trends(args: argparse.Namespace) -> int:
    if find_spec("ruptures") is None:
        raise UsageError("trends need ruptures, which detects steps: pip install 'vlm-parity[trends]'")
    from vlm_parity.changes.trends import build_trends
    from vlm_parity.report.trends import TRENDS_FILE, format_trends, render_trends
    from vlm_parity.schema.record import write_atomically

    check_output_folder("--out", args.out)
    runs = _read_folders(args.runs) if args.runs else _read_store(args.store, args.last)
    trends = build_trends(runs)
    write_atomically(args.out / TRENDS_FILE, render_trends(trends).encode())
    console = Console()
    print_text(console, str(args.out / TRENDS_FILE))
    print_text(console, format_trends(trends), "bold")
    return PASSED


def _read_folders(folders: Sequence[Path]) -> Iterable[RunSummary]:
    """Return the runs of folders, the oldest first."""
    runs = [read_run_folder("RUN", folder) for folder in folders]
    return sorted(runs, key=lambda run: run.started or "")


def _read_store(location: str | None, count: int) -> Iterator[RunSummary]:
    """Yield the newest runs of the store, the oldest first."""
    require_packages()
    from vlm_parity.store.read_runs import list_runs, read_run

    store = open_store(location, print_migration)
    for run in reversed(list_runs(store)[:count]):
        yield read_run(store, run.key)
