"""``parity lock``: the lock of this environment, and the packages that have newer releases."""

from __future__ import annotations

import argparse
import sys

from vlm_parity.cli.parsers import Commands, add_command
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED
from vlm_parity.util.text import escape_terminal

_LOCK = """\
Print the lock that this environment was installed under, and each package that differs from it.

  .tox/vllm/bin/parity lock            installed versions against the pins
  .tox/vllm/bin/parity lock --check    releases that are newer than the installed ones, too

--check uses the package index that pip is configured with. A newer release may not fit the engine.
In a clone, `python tools/lock.py` writes the locks.
"""
_EXIT_CODES = """\
exit codes:
  0  every package is as pinned; with --check, none has a newer release
  1  a package differs from its pin, or has a newer release
  2  usage error
  3  the environment has no lock, or the package index cannot be read
"""


def add_commands(commands: Commands) -> None:
    """Add ``lock``."""
    parser = add_command(
        commands,
        "lock",
        _show_lock,
        summary="print the lock of this environment, and newer releases",
        description=_LOCK,
        exit_codes=_EXIT_CODES,
    )
    parser.add_argument("--check", action="store_true", help="list newer releases of the installed packages")


def _show_lock(args: argparse.Namespace) -> int:
    from vlm_parity.releases.lock_check import list_newer_releases
    from vlm_parity.report.locks import format_lock
    from vlm_parity.session.lock import describe_lock

    lock = describe_lock()
    _print(format_lock(lock))
    if lock is None:
        return NOT_COMPARED
    newer = list_newer_releases() if args.check else []
    for each in newer:
        _print(f"{each.name}: {each.newest} is newer than {each.installed}")
    if args.check and not newer:
        _print("No package has a newer release.")
    return FAILED if lock.differences or newer else PASSED


def _print(line: str) -> None:
    sys.stdout.write(f"{escape_terminal(line)}\n")
