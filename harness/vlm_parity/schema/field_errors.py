"""Errors of pydantic in the words of the files that users write."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from vlm_parity.util.text import escape_invisible

MAX_LINES = 20
"""Errors of one file that are shown."""
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "no such key here",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "bool_type": "must be true or false",
}
"""By type of error; the others are clear in pydantic's words."""
_SUBJECT = re.compile("^(Input|String|Tuple) should")


def describe_error(detail: Any) -> str:
    """Describe one error of a ``ValidationError``, without its location."""
    if detail["type"] == "value_error":  # pydantic's own message begins with "Value error, "
        return str(detail["ctx"]["error"])
    if detail["type"] == "too_short" and detail["ctx"]["min_length"] == 1:
        return "must not be empty"
    message = _SUBJECT.sub("must", detail["msg"]).replace(" after validation", "")
    return _WORDS.get(detail["type"], message)


def format_errors(error: ValidationError, format_error: Callable[[Any], str]) -> str:
    """Format the errors of a file, one a line, the first few of many.

    Errors that follow from others are left out: if an item is invalid, pydantic also reports its list as too
    short.

    Args:
        error: of the record that was built from the file.
        format_error: formats one error of ``ValidationError.errors``.
    """
    details = error.errors(include_url=False, include_input=False)
    prefixes = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    causes = [detail for detail in details if detail["loc"] not in prefixes]
    lines = [escape_invisible(format_error(detail)) for detail in causes[:MAX_LINES]]
    more = len(causes) - len(lines)
    return "\n".join([*lines, f"and {more} more errors"] if more else lines)
