"""Environment variables of vlm-parity, each read by its type in one place.

A typing error is a usage error at the start of a command, never an exception at its end.
"""

from __future__ import annotations

import difflib
import math
import os
from pathlib import Path

from vlm_parity.util.encoding import check_encoding
from vlm_parity.util.errors import UsageError

PREFIX = "VLM_PARITY_"
CACHE_VARIABLE = "VLM_PARITY_CACHE"
CACHE_LIMIT_VARIABLE = "VLM_PARITY_CACHE_GB"
STORE_VARIABLE = "VLM_PARITY_STORE"
VARIABLES = (CACHE_VARIABLE, CACHE_LIMIT_VARIABLE, STORE_VARIABLE)


def check_variables() -> None:
    """Check that each variable with the prefix exists and has a value of its type.

    Raises:
        UsageError: one has not; the message names it, its value and what is valid.
    """
    for name in os.environ:
        if name.startswith(PREFIX) and name not in VARIABLES:
            (similar,) = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0)
            raise UsageError(f"{name}: no such environment variable; {similar} has a similar name")
    read_path(CACHE_VARIABLE)
    read_number(CACHE_LIMIT_VARIABLE, "gigabytes", 0)
    read_text(STORE_VARIABLE)


def read_text(name: str) -> str | None:
    """Return the text in a variable; None if it is unset or empty.

    Raises:
        UsageError: no record could hold it.
    """
    value = os.environ.get(name)
    if not value:
        return None
    check_encoding([value])
    return value


def read_path(name: str) -> Path | None:
    """Return the absolute path in a variable; None if it is unset or empty.

    Raises:
        UsageError: its ``~`` has no home folder, or no record could hold it.
    """
    value = os.environ.get(name)
    if not value:
        return None
    check_encoding([value])
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{name}={value!r}: {error}") from error


def read_number(name: str, unit: str, default: float) -> float:
    """Return the number in a variable, 0 or more, ``inf`` too; the default if it is unset or empty.

    Args:
        name: the variable.
        unit: in the plural, for the error.
        default: the number of an unset variable.

    Raises:
        UsageError: it is no such number.
    """
    value = os.environ.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number) or number < 0:
        raise UsageError(f"{name}={value!r}: must be a number of {unit}, 0 or more")
    return number
