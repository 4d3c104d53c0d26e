"""``parity compare``: the changes from a baseline to a run."""

from __future__ import annotations

import argparse

from rich.console import Console

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.cli.run_pair import add_pair_options, add_run_argument, load_pair, write_json, write_text
from vlm_parity.util.exit_codes import FAILED, PASSED

_DESCRIPTION = """\
Print what changed from a baseline to a run, by class and cause: new, changed and fixed differences, lost and
restored comparisons, cases added, removed and edited, and the environment changes beside them. No engine
starts.

  parity compare reports/latest --baseline last
  parity compare reports/candidate --baseline reports/release --json changes.json --markdown changes.md
"""
_EXIT_CODES = """\
exit codes:
  0  no comparison is worse than in the baseline, and the run is complete
  1  a comparison is worse or missing, or the run is incomplete or unreadable
  2  usage error: a run does not exist or holds no shard, or a file cannot be written
  3  the store cannot be read
"""


def add_commands(commands: Commands) -> None:
    """Add ``compare``."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        summary="print what changed from a baseline to a run",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    add_run_argument(parser)
    add_pair_options(parser)


def _compare(args: argparse.Namespace) -> int:
    from vlm_parity.report.comparison_markdown import render_comparison
    from vlm_parity.report.comparison_terminal import print_comparison
    from vlm_parity.report.run_comparison import build_comparison_json

    comparison = load_pair(args, {"--json": args.json, "--markdown": args.markdown})
    print_comparison(comparison, Console())
    if args.json:
        write_json(args.json, build_comparison_json(comparison))
    if args.markdown:
        write_text(args.markdown, render_comparison(comparison))
    return FAILED if comparison.is_worse else PASSED
