"""Building blocks of the argument parsers of all commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from vlm_parity.util.option_types import parse_folder, parse_path

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
RunCommand: TypeAlias = Callable[[argparse.Namespace], int]

EXIT_CODES = """\
exit codes:
  0  everything passes
  1  something does not pass
  2  usage error: an option, an argument or a file that it names is wrong
  3  something could not be compared: an engine is not installed, no test is selected, ...
"""
EXIT_CODES_WITHOUT_COMPARISON = """\
exit codes:
  0  done
  2  usage error: an option, an argument or a file that it names is wrong
"""


def add_command(
    commands: Commands,
    name: str,
    run: RunCommand,
    *,
    summary: str,
    description: str,
    exit_codes: str = EXIT_CODES_WITHOUT_COMPARISON,
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    Args:
        commands: the commands of ``parity``.
        name: the word after ``parity``.
        run: called with the parsed arguments; returns the exit code.
        summary: its line in ``parity --help``.
        description: the beginning of its own help, with an example.
        exit_codes: the end of its own help.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_run_folder(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--run``; ``default`` is shown in the help."""
    parser.add_argument(
        "--run",
        type=parse_path,
        metavar="DIR",
        dest="run_folder",
        help=f"run folder to write into (default: {default})",
    )


def add_media_roots(parser: argparse.ArgumentParser) -> None:
    """Add ``--media-root``, as ``parity run`` has it; the folders must exist."""
    parser.add_argument(
        "--media-root",
        type=parse_folder,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of media files that cases may name besides their own folders; repeatable",
    )


def add_required_shards(parser: argparse.ArgumentParser) -> None:
    """Add ``--require-shard``."""
    parser.add_argument(
        "--require-shard",
        action="append",
        default=[],
        metavar="SHARD",
        help="fail unless the run holds this shard; repeatable",
    )
