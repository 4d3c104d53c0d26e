"""Text from models, cases and engines, made fit to be looked at."""

from __future__ import annotations


def escape_invisible(text: str) -> str:
    """Text in which nothing hides: control and direction characters are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_invisible_lines(text: str) -> str:
    """Like ``visible``, but lines stay lines."""
    return "\n".join(map(escape_invisible, text.split("\n")))
