"""``parity selfcheck``."""

from __future__ import annotations

import argparse

from rich.console import Console

from vlm_parity.cli.parsers import Commands, add_command, add_required_shards, add_run_folder
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_types import parse_path

_DESCRIPTION = """\
Inject faults into real engines and measure how many of them vlm-parity detects. Each engine is loaded once;
its cases run without a fault, with one fault after the other, and without a fault again.

  parity selfcheck --quick                                  one family in float32, default mode
  parity selfcheck --backend vllm --fault 'image_*'         some faults of one engine

The faults and the controls without a fault are defined in harness/vlm_parity/selfcheck/.
"""
_EXIT_CODES = """\
exit codes:
  0  in float32, every fault was detected at the right stage with the right cause, without a false alarm
  1  a fault was missed or misattributed, there was a false alarm, or a required shard is missing
  2  usage error: no such backend, family or fault
  3  an engine is not installed, or a model could not be built
"""


def add_commands(commands: Commands) -> None:
    """Add ``selfcheck``."""
    parser = add_command(
        commands,
        "selfcheck",
        _selfcheck,
        summary="inject faults into real engines and count those that are detected",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    _add_selection_options(parser)
    _add_output_options(parser)


def _add_selection_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="engine to inject faults into; repeatable (default: every installed one)",
    )
    add(
        "--model",
        action="append",
        default=[],
        metavar="FAMILY",
        help="only this family; repeatable (default: the families that each fault names)",
    )
    add(
        "--dtype",
        action="append",
        default=[],
        choices=["float32", "bfloat16", "float16"],
        help="dtype of the engines; repeatable (default: float32 and bfloat16)",
    )
    add("--fault", default="*", metavar="PATTERN", help="only faults whose name matches this shell pattern")
    add("--quick", action="store_true", help="one family, float32 and the default mode only")
    add(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="device of the engines (default: %(default)s)",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add_run_folder(parser, "reports/<time>-selfcheck")
    parser.add_argument("--shard", metavar="NAME", help="name of this environment's shard of the run")
    parser.add_argument(
        "--report-only", action="store_true", help="start no engine; write the page of the existing shards"
    )
    add_required_shards(parser)
    parser.add_argument(
        "--markdown", type=parse_path, metavar="FILE", help="also write the tables, as Markdown"
    )


def _selfcheck(args: argparse.Namespace) -> int:
    from vlm_parity.selfcheck.command import run_selfcheck

    return PASSED if run_selfcheck(args, format_timestamp(), Console()) else FAILED
