"""Options of the commands that compare a run with a baseline, and their common steps."""

from __future__ import annotations

import argparse
import json
import math
from argparse import ArgumentTypeError
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_parity.changes.policy import DEFAULT_FACTOR
from vlm_parity.cli.baseline import BASELINE_HELP, read_baseline, read_run_folder
from vlm_parity.cli.store_option import add_store_option
from vlm_parity.util.option_paths import check_output_file
from vlm_parity.util.option_types import parse_path, parse_text
from vlm_parity.util.writable_folder import ensure_writable_file

if TYPE_CHECKING:
    from vlm_parity.report.run_comparison import RunComparison


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``RUN``."""
    parser.add_argument("folder", type=parse_path, metavar="RUN", help="run folder, such as reports/latest")


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--baseline``, ``--store``, ``--factor``, ``--json`` and ``--markdown``."""
    add = parser.add_argument
    add(
        "--baseline",
        type=parse_text,
        required=True,
        metavar="RUN",
        help=f"run to compare it with: {BASELINE_HELP}",
    )
    add_store_option(parser)
    add(
        "--factor",
        type=_parse_factor,
        default=DEFAULT_FACTOR,
        metavar="N",
        help="a distance that grows or shrinks beyond this factor is another size (default: %(default)g)",
    )
    add("--json", type=parse_path, metavar="FILE", help="also write the result as JSON")
    add("--markdown", type=parse_path, metavar="FILE", help="also write it as Markdown, for a step summary")


def load_pair(args: argparse.Namespace, outputs: Mapping[str, Path | None]) -> RunComparison:
    """Check the options, load both runs, and compare them.

    Args:
        args: the parsed arguments.
        outputs: files to write, by option.

    Raises:
        UsageError: a run does not exist or holds no shard, or an output cannot be written.
        StoreError: the store of the baseline cannot be read.
    """
    from vlm_parity.report.run_comparison import compare_runs

    named = {option: path for option, path in outputs.items() if path is not None}
    for option, path in named.items():
        check_output_file(option, path)
    run = read_run_folder("RUN", args.folder)
    baseline = read_baseline(args.baseline, args.store, run)
    for option, path in named.items():
        ensure_writable_file(path, option)
    return compare_runs(baseline, run, args.factor)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document as JSON."""
    from vlm_parity.schema.record import write_atomically

    write_atomically(path, f"{json.dumps(document, indent=1, allow_nan=False)}\n".encode())


def write_text(path: Path, text: str) -> None:
    """Write a text."""
    from vlm_parity.schema.record import write_atomically

    write_atomically(path, text.encode())


def _parse_factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 <= factor < math.inf:  # false for NaN
        raise ArgumentTypeError(f"{text!r} is not a number from 1")
    return factor
