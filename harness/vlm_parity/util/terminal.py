"""Untrusted text on a rich console: always plain, never markup, and escaped for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from vlm_parity.util.text import escape_terminal


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print untrusted text; the terminal wraps long lines, so that they can be copied."""
    console.print(make_text(text, style), soft_wrap=True)


def make_text(text: str, style: str = "") -> Text:
    """Return untrusted text for a cell of a table."""
    return Text(escape_terminal(text), style)
