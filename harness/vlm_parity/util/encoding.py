"""Encodings of the command line and of the terminal, which the locale chooses."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

from vlm_parity.util.errors import UsageError


def check_encoding(texts: Iterable[str]) -> None:
    """Check that texts from the command line, and paths, can be written into records and pages.

    Raises:
        UsageError: one has bytes that are not valid in the encoding of the locale.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{text!r}: not valid in the encoding of the locale ({sys.getfilesystemencoding()}), so no "
                "record could hold it: use another name, or set LC_ALL=C.UTF-8"
            ) from None


def escape_unprintable_output() -> None:
    """Let the standard output escape characters that its encoding lacks, as the standard error does.

    A name of a model or a frame of a table would otherwise end a session with ``UnicodeEncodeError``.
    """
    if isinstance(sys.__stdout__, io.TextIOWrapper) and sys.__stdout__.errors == "strict":
        sys.__stdout__.reconfigure(errors="backslashreplace")
