"""``parity replay``, ``parity bisect`` and ``parity history``, as the command line has them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.clock import format_timestamp

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_RAW = argparse.RawDescriptionHelpFormatter

_REPLAY = """\
Replays bugs of the past: each of cases/replays/ names releases of an engine that have a bug, and one that
has it no more. Every release is installed in an environment of its own (built on demand, kept in the cache),
asked at the depth `tokens`, and held against transformers. The bug has to be flagged where it is, at the
right stage, with the right cause, and nothing where it is fixed.

  parity replay                                   all of them
  parity replay lmdeploy_image_slots 'vllm_*'     some; --list names them
"""
_BISECT = """\
Finds the release in which a case changed: asks both ends, then always the middle of what is left. Each
release is installed in an environment of its own, built on demand and kept in the cache.

  parity bisect --backend lmdeploy --model qwen2_vl --case one_image --good 0.8.0 --bad 0.7.3
  parity bisect --backend lmdeploy --model qwen2_vl --case one_image --from 0.7.0 --to 0.11.0
  parity bisect --backend vllm --release 0.31.0 --vary transformers --model qwen2_5_vl --case one_video \\
      --from 5.16.1 --to 5.19.0
  parity bisect --backend transformers --reference-version 5.6.2 --model qwen2_5_vl --case one_video \\
      --from 5.3.0 --to 5.6.2
"""
_HISTORY = """\
Asks a list of releases about some cases: a table of verdicts by release, for the report.

  parity history --backend lmdeploy --model qwen2_vl --case one_image --case text_around_image \\
      --releases 0.7.3,0.8.0,0.10.2,0.11.0
  parity history --backend lmdeploy --model qwen2_vl --case one_image --from 0.7.0 --to 0.11.0
"""
_CODES = {
    "replay": """\
exit codes:
  0  every bug showed what it has to
  1  a release was flagged wrongly, or not at all
  2  wrong use: there is no such replay, or its file does not fit
  3  a release could not be asked: its environment cannot be built, or nothing could be compared
""",
    "bisect": """\
exit codes:
  0  the release was found
  1  both ends are alike, or the good one is not good: there is nothing to find
  2  wrong use
  3  an end could not be asked, or releases around the change could not
""",
    "history": """\
exit codes: 0 every release was asked; 2 wrong use; 3 a release could not be asked
""",
}


def add_subcommands(commands: _Commands) -> None:
    """Declares the three."""
    replay = _command(commands, "replay", "replay bugs of the past in the releases that had them", _REPLAY)
    replay.add_argument("bugs", nargs="*", metavar="ID", help="name or shell pattern (default: all)")
    replay.add_argument("--list", action="store_true", help="name them, and do nothing else")
    _add_common_options(replay)
    replay.set_defaults(run=_replay)

    bisect = _command(commands, "bisect", "find the release in which a case changed", _BISECT)
    _add_query_options(bisect)
    bisect.add_argument("--case", required=True, metavar="NAME", help="the case that changed")
    bisect.add_argument("--good", metavar="VERSION", help="a release that matches")
    bisect.add_argument("--bad", metavar="VERSION", help="a release that does not")
    _add_end_options(bisect)
    _add_common_options(bisect)
    bisect.set_defaults(run=_bisect)

    history = _command(commands, "history", "ask a list of releases about some cases", _HISTORY)
    _add_query_options(history)
    history.add_argument(
        "--case",
        action="append",
        required=True,
        metavar="PATTERN",
        help="case by name or pattern; repeatable",
    )
    history.add_argument("--releases", metavar="VERSION,...", help="the releases to ask")
    _add_end_options(history)
    _add_common_options(history)
    history.set_defaults(run=_history)


def _command(commands: _Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=description, epilog=_CODES[name], formatter_class=_RAW
    )


def _add_query_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--backend", required=True, metavar="NAME", help="the engine whose releases are asked")
    add(
        "--model",
        required=True,
        metavar="MODEL",
        help="a family (its tiny checkpoint, in files that older libraries read), or a folder",
    )
    add("--mode", default=DEFAULT_MODE, metavar="NAME", help="mode of the engine (default: %(default)s)")
    add(
        "--entry-point",
        default=str(EntryPoint.CHAT),
        choices=[str(entry_point) for entry_point in EntryPoint],
        help="API that the case goes through (default: %(default)s)",
    )
    add(
        "--vary",
        metavar="DISTRIBUTION",
        help="vary the releases of this one, and hold the backend's (--release): transformers, say",
    )
    add("--release", metavar="VERSION", help="the backend's release, if --vary names another distribution")
    add(
        "--pin",
        action="append",
        default=[],
        metavar="NAME=VERSION",
        help="a version that every environment holds, over releases.toml's; repeatable",
    )
    add(
        "--engine-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="told to the engine's constructor; repeatable",
    )
    add(
        "--reference-version",
        metavar="VERSION",
        help="the release of transformers that is the reference (default: each environment's own)",
    )


def _add_end_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", metavar="VERSION", help="the first release in question")
    parser.add_argument("--to", dest="last", metavar="VERSION", help="the last release in question")


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--jobs", type=int, default=2, metavar="N", help="releases asked at a time (default: %(default)s)")
    add(
        "--suite",
        type=Path,
        default=REPOSITORY_ROOT / "cases",
        metavar="DIR",
        help="folder of the tests, their conversations/ and replays/ (default: cases/ of the checkout)",
    )
    add("--run", type=Path, metavar="DIR", dest="run_folder", help="run folder (default: reports/<time>-...)")


def _replay(chosen: argparse.Namespace) -> int:
    from vlm_parity.replay.command import run_replays

    return _run_command(run_replays, chosen)


def _bisect(chosen: argparse.Namespace) -> int:
    from vlm_parity.releases.command import run_bisect

    return _run_command(run_bisect, chosen)


def _history(chosen: argparse.Namespace) -> int:
    from vlm_parity.releases.command import run_history

    return _run_command(run_history, chosen)


def _run_command(
    command: Callable[[argparse.Namespace, str, Console], int], chosen: argparse.Namespace
) -> int:
    from vlm_parity.util.errors import UsageError
    from vlm_parity.util.exit_codes import USAGE

    try:
        return command(chosen, format_timestamp(), Console())
    except UsageError as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE
