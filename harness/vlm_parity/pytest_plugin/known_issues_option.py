"""Which ledger of known mismatches a session goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.util.errors import KnownIssuesError
from vlm_parity.verdicts.known_issues import KNOWN_ISSUES_FILE, KnownIssue, read_known_issues


def add_known_issues_options(add: AddOption) -> None:
    """Declare ``known-issues`` and ``no-known-issues``."""
    add(
        "known-issues",
        type=Path,
        metavar="FILE",
        help=f"file of known issues (default: {KNOWN_ISSUES_FILE} beside the test modules, if it is there)",
    )
    add("no-known-issues", action="store_true", help="report known issues as mismatches")


def get_known_issues(config: pytest.Config, beside: Path) -> tuple[KnownIssue, ...]:
    """What is known of the cases beside the test modules.

    Raises:
        pytest.UsageError: the ledger cannot be read.
    """
    named: Path | None = get_option(config, "known-issues")
    path = named or beside / KNOWN_ISSUES_FILE
    if get_option(config, "no-known-issues") or (named is None and not path.exists()):
        return ()
    try:
        return read_known_issues(path)
    except KnownIssuesError as problem:
        raise pytest.UsageError(str(problem)) from None
