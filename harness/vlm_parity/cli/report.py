"""``parity report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from vlm_parity.cli.parsers import Commands, add_command, add_required_shards
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.writable_folder import ensure_writable_file, ensure_writable_run

_DESCRIPTION = """\
Merge the shards of one or more runs into one run folder and write its pages and report.json. No engine
starts.

  parity report reports/vllm reports/lmdeploy --out reports/both
  parity report reports/latest --known-issues cases/known_issues.toml --out reports/again
  parity report .tox/run --move-shards --require-shard vllm --require-shard lmdeploy
"""
_EXIT_CODES = """\
exit codes:
  0  every verdict passes, and every shard is complete
  1  something does not pass, or a required shard is missing
  2  usage error: no such run folder, or the file of known issues cannot be read
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
    add("runs", nargs="+", type=Path, metavar="RUN", help="run folder that `parity run --run` has written")
    add("--out", type=Path, metavar="DIR", help="run folder to write (default: reports/<time>)")
    add("--move-shards", action="store_true", help="move the shards instead of copying them")
    add_required_shards(parser)
    add(
        "--known-issues",
        type=Path,
        metavar="FILE",
        help="decide all verdicts again with this file of known issues, on the stored comparisons",
    )
    add(
        "--matrix",
        type=Path,
        metavar="FILE",
        help="also write the table of models by backends and entry points, as Markdown",
    )


def _report(args: argparse.Namespace) -> int:
    from vlm_parity.fuzz.page import write_fuzz_page
    from vlm_parity.report.matrix_markdown import render_markdown
    from vlm_parity.report.publish import (
        apply_known_issues_to_run,
        merge_runs,
        publish_report,
        withdraw_report,
    )
    from vlm_parity.report.terminal import print_summary
    from vlm_parity.schema.record import write_atomically
    from vlm_parity.util.terminal import print_text
    from vlm_parity.verdicts.known_issues import read_known_issues

    absent = [str(run) for run in args.runs if not run.is_dir()]
    if absent and not args.require_shard:
        raise UsageError(f"no such run folder: {', '.join(absent)}")
    out = args.out or Path("reports") / format_timestamp()
    ensure_writable_run(out, "--out")
    if args.matrix:
        ensure_writable_file(args.matrix, "--matrix")
    known_issues = read_known_issues(args.known_issues) if args.known_issues else None
    withdraw_report(out)
    missing = merge_runs(args.runs, out, move=args.move_shards, required=args.require_shard)
    if known_issues is not None:
        apply_known_issues_to_run(out, known_issues)
    run = publish_report(out)
    write_fuzz_page(run)
    if args.matrix:
        write_atomically(args.matrix, render_markdown(run).encode())
    console = Console()
    print_summary(run, console)
    for shard in missing:
        print_text(console, f"Shard {shard} is missing: its session wrote nothing.", "red")
    return PASSED if run.passes and not missing else FAILED
