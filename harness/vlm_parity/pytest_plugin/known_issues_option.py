"""Which ledger of known mismatches a session goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.util.errors import KnownIssuesError
from vlm_parity.verdicts.known_issues import LEDGER_FILE, Entry, read_ledger


def add_ledger_options(group: pytest.OptionGroup) -> None:
    """Declares ``--ledger`` and ``--no-ledger``."""
    group.addoption(
        "--ledger",
        type=Path,
        metavar="FILE",
        help=f"ledger of known mismatches (default: {LEDGER_FILE} beside the test modules, if it is there)",
    )
    group.addoption("--no-ledger", action="store_true", help="take every mismatch for a new one")


def chosen_ledger(config: pytest.Config, beside: Path) -> tuple[Entry, ...]:
    """What is known of the cases beside the test modules.

    Raises:
        pytest.UsageError: the ledger cannot be read.
    """
    named: Path | None = config.getoption("--ledger")
    path = named or beside / LEDGER_FILE
    if config.getoption("--no-ledger") or (named is None and not path.exists()):
        return ()
    try:
        return read_ledger(path)
    except KnownIssuesError as problem:
        raise pytest.UsageError(str(problem)) from None
