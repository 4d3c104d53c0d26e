"""``parity check`` and ``parity models``, as the command line has them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from vlm_parity.cli.check_options import add_check_options
from vlm_parity.util.clock import format_timestamp

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_subcommands(commands: _Commands) -> None:
    """Declares both."""
    check = commands.add_parser("check", help="check a checkpoint before it is released; no weights needed")
    add_check_options(check)
    check.set_defaults(run=_check)
    models = commands.add_parser("models", help="print the model list, and what in it is not pinned")
    models.add_argument(
        "--model-list",
        type=Path,
        metavar="FILE",
        default=Path("cases/models.toml"),
        help="entries that are NOT PINNED to a commit are marked (default: %(default)s)",
    )
    models.set_defaults(run=_models)


def _check(chosen: argparse.Namespace) -> int:
    from vlm_parity.check.command import run_check
    from vlm_parity.util.errors import UsageError
    from vlm_parity.util.exit_codes import USAGE

    try:
        return run_check(chosen, format_timestamp(), Console())
    except UsageError as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE


def _models(chosen: argparse.Namespace) -> int:
    from vlm_parity.cli.model_table import print_models
    from vlm_parity.models.model_list import read_model_list
    from vlm_parity.util.errors import ModelListError
    from vlm_parity.util.exit_codes import PASSED, USAGE

    try:
        print_models(read_model_list(chosen.model_list).values(), Console())
    except ModelListError as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE
    return PASSED
