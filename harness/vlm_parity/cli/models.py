"""``parity models``: the model list on a terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.models.model_list import ListedModel
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import PASSED
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.terminal import make_text, print_text

DEFAULT_LIST = Path("cases/models.toml")
"""The model list in a clone."""

_DESCRIPTION = """\
Print the models whose names `parity run --model` and `parity check` accept. Entries without a commit are
marked NOT PINNED: the hub may serve another checkpoint under the same name at any time.

  parity models
  parity models --model-list nightly.toml
"""


def add_commands(commands: Commands) -> None:
    """Add ``models``."""
    parser = add_command(
        commands,
        "models",
        _print_model_list,
        summary="print the model list and its entries that are not pinned",
        description=_DESCRIPTION,
    )
    parser.add_argument(
        "--model-list",
        type=parse_path,
        metavar="FILE",
        help=f"list to print (default: {DEFAULT_LIST})",
    )


def _print_model_list(args: argparse.Namespace) -> int:
    from vlm_parity.models.model_list import read_model_list

    path = args.model_list or DEFAULT_LIST
    if args.model_list is None and not path.exists():
        raise UsageError(f"no {path} here: run in a clone of vlm-parity, or name a list with --model-list")
    print_models(read_model_list(path).values(), Console())
    return PASSED


def print_models(entries: Iterable[ListedModel], console: Console) -> None:
    """Print a table with one row per entry, then the number of entries that are not pinned to a commit."""
    models = list(entries)
    table = Table(title=None)
    for name in ("name", "family", "checkpoint", "revision", "dtype"):
        table.add_column(name, overflow="fold")
    for name in ("GiB", "GPUs"):
        table.add_column(name, justify="right")
    table.add_column("its own code")
    for model in models:
        table.add_row(
            make_text(model.name),
            make_text(model.family),
            make_text(model.hub_id),
            make_text(model.revision[:12]) if model.pinned else Text("NOT PINNED", "bold red"),
            model.dtype,
            f"{model.memory_gib:g}",
            str(model.tensor_parallel_size),
            "run" if model.trust_remote_code else "",
        )
    console.print(table)
    unpinned = sum(not model.pinned for model in models)
    if unpinned:
        print_text(
            console,
            f"{unpinned} of {len(models)} are NOT PINNED to a commit and may change at any time: replace the "
            "revision by a commit, which the hub lists under 'History'",
            "bold red",
        )
