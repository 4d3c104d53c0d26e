"""``parity gate``: pass or fail a run against a baseline, by a policy."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from vlm_parity.changes.policy import POLICY
from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.cli.run_pair import add_pair_options, add_run_argument, load_pair, write_json, write_text
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import format_annotation

_DESCRIPTION = f"""\
Pass or fail a run against a baseline: nothing new, nothing lost from coverage, and the run complete.
No engine starts.

  parity gate reports/latest --baseline last-green
  parity gate reports/candidate --baseline 0.18.0 --junit gate.xml --markdown gate.md --annotations

{POLICY}"""
_EXIT_CODES = """\
exit codes:
  0  the gate passes
  1  the gate fails
  2  usage error: a run does not exist or holds no shard, or a file cannot be written
  3  the store cannot be read
"""


def add_commands(commands: Commands) -> None:
    """Add ``gate``."""
    parser = add_command(
        commands,
        "gate",
        _gate,
        summary="pass or fail a run against a baseline",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    add_run_argument(parser)
    add = parser.add_argument
    add_pair_options(parser)
    add("--junit", type=parse_path, metavar="FILE", help="also write JUnit XML, a test for each comparison")
    add("--annotations", action="store_true", help="also print the reasons as commands of GitHub Actions")


def _gate(args: argparse.Namespace) -> int:
    from vlm_parity.report.comparison_markdown import render_gate
    from vlm_parity.report.comparison_terminal import print_gate
    from vlm_parity.report.gate_junit import list_annotations, render_junit
    from vlm_parity.report.run_comparison import build_gate_json, gate_run
    from vlm_parity.schema.record import write_atomically

    outputs = {"--json": args.json, "--markdown": args.markdown, "--junit": args.junit}
    comparison = load_pair(args, outputs)
    result = gate_run(comparison)
    print_gate(comparison, result, Console())
    if args.annotations:
        for command, title, text in list_annotations(result):
            sys.stdout.write(f"{format_annotation(command, title, text)}\n")
    if args.json:
        write_json(args.json, build_gate_json(comparison, result))
    if args.markdown:
        write_text(args.markdown, render_gate(comparison, result))
    if args.junit:
        write_atomically(args.junit, render_junit(result))
    return PASSED if result.passes else FAILED
