"""Markdown tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable

from vlm_parity.util.text import escape_markdown


def format_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Format a table; its cells are plain text, which is escaped."""
    lines = [[escape_markdown(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
