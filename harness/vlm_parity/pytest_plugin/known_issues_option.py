"""Options for the file of known issues."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.schema.suite_layout import KNOWN_ISSUES_FILE
from vlm_parity.util.errors import KnownIssuesError
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.verdicts.known_issues import KnownIssue


def add_known_issues_options(add: AddOption) -> None:
    """Declare ``known-issues`` and ``no-known-issues``."""
    add(
        "known-issues",
        type=parse_path,
        metavar="FILE",
        help=f"file of known issues (default: {KNOWN_ISSUES_FILE} in the folder of the test modules, if it "
        "exists)",
    )
    add("no-known-issues", action="store_true", help="report known issues as mismatches")


def get_known_issues(config: pytest.Config, folder: Path) -> tuple[KnownIssue, ...]:
    """Return the known issues that apply to the test modules of a folder.

    Raises:
        pytest.UsageError: the file cannot be read.
    """
    configured: Path | None = get_option(config, "known-issues")
    path = configured or folder / KNOWN_ISSUES_FILE
    if get_option(config, "no-known-issues") or (configured is None and not path.exists()):
        return ()
    from vlm_parity.verdicts.known_issues import read_known_issues

    try:
        return read_known_issues(path)
    except KnownIssuesError as error:
        raise pytest.UsageError(escape_terminal(str(error))) from None
