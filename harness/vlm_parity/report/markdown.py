"""Markdown tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable

_MARKDOWN_CHARACTERS = "\\|`*<>[]&#"
"""Characters with a meaning in Markdown or HTML."""


def format_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Format a table; its cells are plain text, which is escaped."""
    lines = [[_escape_cell(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape_cell(cell: str) -> str:
    return "".join(f"\\{sign}" if sign in _MARKDOWN_CHARACTERS else sign for sign in cell)
