"""``parity check``."""

from __future__ import annotations

import argparse

from rich.console import Console

from vlm_parity.cli.parsers import Commands, add_command, add_media_roots, add_run_folder
from vlm_parity.schema.engine_setup import DTYPES, Depth
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.option_types import parse_assignment, parse_path

_DESCRIPTION = """\
Check a checkpoint before its release: do the engines prepare its inputs as transformers does? At the depth
`tokens` this needs the configuration, tokenizer and processor, but no weights and no GPU.

  parity check ./my-checkpoint --backend vllm --backend lmdeploy
  parity check org/name@revision --depth logits --device cuda --dtype bfloat16

Each engine runs in this Python if it is installed here, else in the tox environment of its name in the
clone of vlm-parity. The same as `parity run --model MODEL --backend NAME --depth tokens` in each of them.
"""
_EXIT_CODES = """\
exit codes:
  0  everything was compared and passes
  1  something differs, or a known issue no longer occurs
  2  usage error: no such backend, case or model, a list that cannot be read, or a folder without checkpoint
  3  nothing differs, but something could not be compared: a file of the checkpoint is missing, the hub cannot
     be reached, an engine is not installed, failed or crashed, or the reference is not reliable
"""


def add_commands(commands: Commands) -> None:
    """Add ``check``."""
    parser = add_command(
        commands,
        "check",
        _check,
        summary="check a checkpoint before its release; no weights needed",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    _add_selection_options(parser)
    _add_engine_options(parser)
    parser.add_argument(
        "--suite",
        type=parse_path,
        metavar="DIR",
        help="folder of the tests and their cases (default: cases/ of the clone)",
    )
    add_media_roots(parser)
    add_run_folder(parser, "reports/<time>")


def _add_selection_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="folder, hub id org/name[@revision], name in the model list, or family (its tiny synthetic "
        "checkpoint)",
    )
    add(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="engine to check with; repeatable (default: every engine that is installed)",
    )
    add("--case", action="append", default=[], metavar="PATTERN", help="case by name or pattern; repeatable")
    add(
        "--model-list",
        type=parse_path,
        metavar="FILE",
        help="list of models (default: models.toml of the cases)",
    )


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--depth",
        choices=[str(depth) for depth in Depth],
        default=str(Depth.TOKENS),
        help="tokens: compare model inputs, no weights; logits: compare outputs too (default: %(default)s)",
    )
    add(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="device of the engines (default: %(default)s)",
    )
    add("--dtype", choices=DTYPES, help="dtype of the engines")
    add(
        "--engine-arg",
        action="append",
        type=parse_assignment,
        default=[],
        metavar="NAME=VALUE",
        help="argument of the engine's constructor; repeatable",
    )


def _check(args: argparse.Namespace) -> int:
    from vlm_parity.check.command import run_check

    return run_check(args, format_timestamp(), Console())
