"""File names of pages: valid on any file system, and used once."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MAX_LENGTH = 200


def make_page_name(words: Iterable[str], taken: set[str]) -> str:
    """Return a file name for a page, and add it to those that are taken.

    Args:
        words: untrusted; characters beyond letters, digits, dots and underscores are replaced.
        taken: names in use, in lower case.
    """
    stem = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", word) for word in words)[:_MAX_LENGTH]
    names = (f"{stem}{suffix}.html" for suffix in ("", *(f"-{n}" for n in range(2, len(taken) + 3))))
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name
