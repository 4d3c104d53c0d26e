"""The option ``--store``, and the line about a migration."""

from __future__ import annotations

import argparse
import sys

from vlm_parity.util.option_types import parse_text
from vlm_parity.util.text import escape_terminal


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``."""
    parser.add_argument(
        "--store",
        type=parse_text,
        metavar="URL",
        help="SQLite file, or postgresql://host/name (default: $VLM_PARITY_STORE, else reports/store.sqlite)",
    )


def print_migration(line: str) -> None:
    """Print a line about a migration of the store, apart from the output of the command."""
    sys.stderr.write(f"{escape_terminal(line)}\n")
