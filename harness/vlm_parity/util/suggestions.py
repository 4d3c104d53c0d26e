"""Errors about unknown names, with suggestions."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONG_LIST = 12
"""A longer list is left out of a message that suggests the closest names."""
_LONG_NAME = 100


def describe_unknown_name(
    option: str,
    name: str,
    known: Iterable[str],
    problem: str,
    *,
    listing: str = "there are",
    one_per_line: bool = False,
) -> str:
    """Format the error about a name that does not exist: the closest names, then all names.

    Args:
        option: the option or argument that holds the name, or a place in a file.
        name: the unknown name.
        known: the names that exist.
        problem: such as ``no such backend``.
        listing: the words before the list of all names.
        one_per_line: whether each name gets a line, for names of several words.
    """
    names = list(known)
    question = suggest_names(name, names)
    head = f"{option} {quote_name(name)}: {problem}; {question}".rstrip()
    if question and len(names) > _LONG_LIST:
        return head
    alternatives = "".join(f"\n  {each}" for each in names) if one_per_line else f" {', '.join(names)}"
    return f"{head} {listing}:{alternatives}"


def suggest_names(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean ...?`` with the closest names; empty if none is close."""
    by_spelling: dict[str, str] = {}
    for each in known:
        by_spelling.setdefault(_normalize(each), each)
    close = [by_spelling[spelling] for spelling in get_close_matches(_normalize(name), by_spelling)]
    return f"did you mean {' or '.join(close)}?" if close else ""


def quote_name(name: str) -> str:
    """Return a name for a message: in quotes if it could not be seen without, and not too long."""
    shown = name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..."
    return shown if shown and shown.isprintable() and shown == shown.strip() else repr(shown)


def _normalize(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
