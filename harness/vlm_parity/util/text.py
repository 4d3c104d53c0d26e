"""Escaping of untrusted text from models, cases and engines, for terminals and pages."""

from __future__ import annotations


def escape_invisible(text: str) -> str:
    """Replace unprintable characters, such as control and direction characters, by their escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_invisible_lines(text: str) -> str:
    """Escape each line as ``escape_invisible`` does and keep the line breaks."""
    return "\n".join(map(escape_invisible, text.split("\n")))
