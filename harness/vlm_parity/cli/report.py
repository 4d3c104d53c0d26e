"""``parity report``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vlm_parity.cli.baseline import BASELINE_HELP, build_comparer
from vlm_parity.cli.parsers import Commands, add_command, add_required_shards
from vlm_parity.cli.store_option import print_migration
from vlm_parity.schema.run_layout import check_shard_name
from vlm_parity.store.location import open_store, require_packages
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_paths import (
    check_folder,
    check_output_file,
    check_output_folder,
    path_exists,
)
from vlm_parity.util.option_types import parse_path, parse_text
from vlm_parity.util.terminal import print_text
from vlm_parity.util.writable_folder import ensure_writable_file, ensure_writable_run

if TYPE_CHECKING:
    from vlm_parity.report.load_run import LoadedRun
    from vlm_parity.store.database import Store

_DESCRIPTION = """\
Merge the shards of one or more runs into one run folder and write its pages and report.json. No engine
starts.

  parity report reports/vllm reports/lmdeploy --out reports/both
  parity report reports/latest --known-issues cases/known_issues.toml --out reports/again
  parity report reports/latest --baseline last-green --store reports/store.sqlite
  parity report .tox/run --move-shards --require-shard vllm --require-shard lmdeploy
  parity report jobs/* --out reports/nightly --timings timings.json      the shares of a CI matrix
"""
_EXIT_CODES = """\
exit codes:
  0  every verdict passes, and every shard is complete
  1  something does not pass, a required shard is missing, or a share (`parity run --shard N/M`) is missing,
     repeated, or of another commit or plan
  2  usage error: a run folder does not exist or holds no shard, a session is still writing a shard, or the
     file of known issues or the store cannot be opened
  3  the database of the store cannot be reached, read or written
"""


def add_commands(commands: Commands) -> None:
    """Add ``report``."""
    parser = add_command(
        commands,
        "report",
        _report,
        summary="merge the shards of one or more runs into one report",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        type=parse_path,
        metavar="RUN",
        help="run folder that `parity run --run` has written",
    )
    add("--out", type=parse_path, metavar="DIR", help="run folder to write (default: reports/<time>)")
    add("--move-shards", action="store_true", help="move the shards instead of copying them")
    add_required_shards(parser)
    add(
        "--known-issues",
        type=parse_path,
        metavar="FILE",
        help="decide all verdicts again with this file of known issues, on the stored comparisons",
    )
    add(
        "--store",
        type=parse_text,
        metavar="URL",
        help="also add the run to this run store: an SQLite file, or postgresql://host/name",
    )
    add(
        "--baseline",
        type=parse_text,
        metavar="RUN",
        help=f"also show the changes from an earlier run: {BASELINE_HELP}",
    )
    add(
        "--matrix",
        type=parse_path,
        metavar="FILE",
        help="also write the table of models by backends and entry points, as Markdown",
    )
    add(
        "--timings",
        type=parse_path,
        metavar="FILE",
        help="also write the seconds of each engine load, as JSON for `parity run --shard N/M --timings`",
    )


def _report(args: argparse.Namespace) -> int:
    from vlm_parity.fuzz.page import write_fuzz_page
    from vlm_parity.report.matrix_markdown import render_markdown
    from vlm_parity.report.publish import (
        apply_known_issues_to_run,
        hold_shards,
        merge_runs,
        publish_report,
        withdraw_report,
    )
    from vlm_parity.report.terminal import print_summary
    from vlm_parity.schema.record import write_atomically, write_record
    from vlm_parity.schema.timings import collect_timings
    from vlm_parity.verdicts.known_issues import read_known_issues

    out = args.out or Path("reports") / format_timestamp()
    _check_options(args, out)
    store = _open_store(args.store)
    compare = build_comparer(args.baseline, args.store) if args.baseline else None
    known_issues = read_known_issues(args.known_issues) if args.known_issues else None
    console = Console()
    runs = {run.resolve(): run for run in args.runs}.values()  # a folder that is named twice counts once
    if not any(map(_holds_shards, runs)):  # nothing to report on
        _print_missing(sorted(set(args.require_shard)), console)
        return FAILED
    ensure_writable_run(out, "--out")
    for option, path in _list_outputs(args).items():
        ensure_writable_file(path, option)
    with hold_shards(runs, out, move=args.move_shards, rewrite=known_issues is not None):
        withdraw_report(out)
        missing = merge_runs(runs, out, move=args.move_shards, required=args.require_shard)
        if known_issues is not None:
            apply_known_issues_to_run(out, known_issues)
    run = publish_report(out, compare)
    write_fuzz_page(run)
    if args.matrix:
        write_atomically(args.matrix, render_markdown(run).encode())
    if args.timings:
        records = (shard.record for shard in run.shards if shard.record is not None)
        write_record(args.timings, collect_timings(records))
    print_summary(run, console)
    _print_missing(missing, console)
    if store is not None:
        _store_run(store, run)
    return PASSED if run.passes and not missing else FAILED


def _open_store(location: str | None) -> Store | None:
    if location is None:
        return None
    require_packages()
    return open_store(location, print_migration, create=True)


def _store_run(store: Store, run: LoadedRun) -> None:
    from vlm_parity.report.summarize_run import summarize_run
    from vlm_parity.store.import_run import RunLabels, import_run

    import_run(store, summarize_run(run), RunLabels(evidence=str(run.folder)))


def _check_options(args: argparse.Namespace, out: Path) -> None:
    for shard in args.require_shard:
        check_shard_name(shard)
    for run in args.runs:
        if args.require_shard and not path_exists("RUN", run):
            continue  # its shards are reported as missing
        check_folder("RUN", run)
        if not args.require_shard and not _holds_shards(run):
            raise UsageError(f"RUN {run}: {_describe_foreign_folder(run)}")
    check_output_folder("--out", out)
    for option, path in _list_outputs(args).items():
        check_output_file(option, path)


def _list_outputs(args: argparse.Namespace) -> dict[str, Path]:
    outputs = {"--matrix": args.matrix, "--timings": args.timings}
    return {option: path for option, path in outputs.items() if path is not None}


def _holds_shards(run: Path) -> bool:
    return any(path.is_dir() for path in run.glob("shards/*"))


def _describe_foreign_folder(run: Path) -> str:
    if (run / "parts").is_dir():
        return "holds parts/ instead of shards/: an earlier version of vlm-parity wrote it; use that one"
    return "holds no shard (shards/NAME), so it is no run folder of `parity run --run`"


def _print_missing(shards: Iterable[str], console: Console) -> None:
    for shard in shards:
        print_text(console, f"Shard {shard} is missing: its session wrote nothing.", "red")
