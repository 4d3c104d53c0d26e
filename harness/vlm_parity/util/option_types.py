"""Types of command-line options: functions that ``argparse`` calls with the text of a value.

``argparse`` adds the name of the option to their messages.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from pathlib import Path

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from vlm_parity.util.option_paths import find_folder

MAX_SECONDS = 1_000_000.0
"""Eleven days: a longer timeout overflows the system calls that wait for it."""


MAX_DAYS = 36_525
"""A hundred years: a date before the year 1 has no form."""
MAX_PORT = 65535
AUTO, LOCAL = "auto", "local"
"""Addresses of the cluster that runs on this machine, and of a new one on it."""
MAX_AMOUNT = 1_000_000.0


def parse_path(text: str) -> Path:
    """Return the path of a file or folder, which need not exist.

    Raises:
        ArgumentTypeError: the text is empty, or no path can hold it.
    """
    if not text or "\0" in text:
        raise ArgumentTypeError(f"{text!r} is not a path")
    return Path(text)


def parse_folder(text: str) -> Path:
    """Return the absolute path of an existing folder.

    Raises:
        ArgumentTypeError: there is no such folder.
    """
    folder = find_folder(text)
    if folder is None:
        raise ArgumentTypeError(f"{text}: no such folder")
    return folder.resolve()


def parse_text(text: str) -> str:
    """Return the text, which is not empty.

    Raises:
        ArgumentTypeError: the text is empty.
    """
    if not text.strip():
        raise ArgumentTypeError("must not be empty")
    return text


def parse_count(text: str) -> int:
    """Return a whole number from 1.

    Raises:
        ArgumentTypeError: the text is none.
    """
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return count


def parse_days(text: str) -> int:
    """Return a whole number of days from 1 to ``MAX_DAYS``.

    Raises:
        ArgumentTypeError: the text is none.
    """
    days = parse_count(text)
    if days > MAX_DAYS:
        raise ArgumentTypeError(f"{text!r} is more than {MAX_DAYS} days")
    return days


def parse_port(text: str) -> int:
    """Return the number of a port, or 0.

    Raises:
        ArgumentTypeError: the text is none.
    """
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_PORT):
        raise ArgumentTypeError(f"{text!r} is not a port from 0 to {MAX_PORT}")
    return int(text)


def parse_amount(text: str) -> float:
    """Return a number from 0, such as CPUs or GiB.

    Raises:
        ArgumentTypeError: the text is none, or no machine has as much.
    """
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount <= MAX_AMOUNT:  # false for NaN
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_AMOUNT:.0f}")
    return amount


def parse_seconds(text: str) -> float:
    """Return a number of seconds above 0, up to ``MAX_SECONDS``.

    Raises:
        ArgumentTypeError: the text is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_SECONDS:  # false for NaN
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to {MAX_SECONDS:.0f}")
    return seconds


def parse_cluster_address(text: str) -> str:
    """Return ``auto``, ``local`` or ``HOST:PORT``.

    Raises:
        ArgumentTypeError: the text is none of them.
    """
    host, _, port = text.rpartition(":")
    if text not in {AUTO, LOCAL} and not (
        host and "/" not in host and port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT
    ):
        raise ArgumentTypeError(
            f"{text!r} must be {AUTO}, {LOCAL} or HOST:PORT, the address of `ray start --head`"
        )
    return text


def parse_assignment(text: str) -> str:
    """Return a text of the form ``NAME=VALUE``.

    Raises:
        ArgumentTypeError: the text has no name or no equals sign.
    """
    name, separator, _ = text.partition("=")
    if not name.strip() or not separator:
        raise ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return text


def parse_version(text: str) -> str:
    """Return a version without surrounding spaces.

    Raises:
        ArgumentTypeError: the text is none.
    """
    try:
        Version(text)
    except InvalidVersion:
        raise ArgumentTypeError(f"{text!r} is not a version") from None
    return text.strip()


def parse_versions(text: str) -> tuple[str, ...]:
    """Return the versions of a comma-separated list.

    Raises:
        ArgumentTypeError: a part of it is no version.
    """
    return tuple(parse_version(part) for part in text.split(","))


def parse_distribution(text: str) -> str:
    """Return the name of a distribution.

    Raises:
        ArgumentTypeError: no distribution can have the name.
    """
    try:
        canonicalize_name(text, validate=True)
    except InvalidName:
        raise ArgumentTypeError(f"{text!r} is not the name of a distribution") from None
    return text


def parse_pin(text: str) -> tuple[str, str]:
    """Return the name and the version of ``NAME=VERSION`` or ``NAME==VERSION``.

    Raises:
        ArgumentTypeError: the text has another form.
    """
    name, separator, version = text.partition("=")
    if not separator:
        raise ArgumentTypeError(f"{text!r} must be NAME=VERSION")
    return parse_distribution(name), parse_version(version.removeprefix("="))
