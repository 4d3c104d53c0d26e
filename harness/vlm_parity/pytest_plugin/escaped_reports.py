"""Escaping of the texts that pytest prints about the tests of the plug-in.

The message of a failure, a skip or an expected failure quotes engines, checkpoints and cases, as does the
traceback of an error.
"""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.util.text import escape_terminal


def escape_report(report: pytest.TestReport) -> None:
    """Escape all texts of a report for a terminal, in place."""
    details: Any = report.longrepr
    if isinstance(details, str):
        report.longrepr = escape_terminal(details)
    elif isinstance(details, tuple):  # a skip
        path, line, reason = details
        report.longrepr = path, line, escape_terminal(reason)
    elif hasattr(details, "reprtraceback"):
        _escape_exceptions(details)
    elif details is not None:
        report.longrepr = escape_terminal(str(details))
    if hasattr(report, "wasxfail"):
        report.wasxfail = escape_terminal(report.wasxfail)
    report.sections = [(title, escape_terminal(text)) for title, text in report.sections]


def _escape_exceptions(details: Any) -> None:
    """Escape the exceptions of a traceback and their causes; pytest's classes of them are private."""
    # Without a chain under --tb=native, whose entries hold the causes.
    chain = getattr(details, "chain", [(details.reprtraceback, details.reprcrash, None)])
    for traceback, location, _ in chain:
        for entry in traceback.reprentries:
            entry.lines = [escape_terminal(line) for line in entry.lines]
        if location is not None:
            location.message = escape_terminal(location.message)
