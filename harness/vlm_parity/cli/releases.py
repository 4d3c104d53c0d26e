"""``parity replay``, ``parity bisect`` and ``parity history``."""

from __future__ import annotations

import argparse

from rich.console import Console

from vlm_parity.cli.parsers import Commands, add_command, add_media_roots, add_run_folder
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.util.checkout import REPOSITORY_ROOT
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.option_types import (
    parse_assignment,
    parse_count,
    parse_distribution,
    parse_path,
    parse_pin,
    parse_version,
    parse_versions,
)

_REPLAY = """\
Replay past bugs: each file of cases/replays/ names releases of an engine that have a bug, and a release that
fixed it. Every release is installed in an environment of its own (built on demand, kept in the cache), run at
the depth `tokens`, and compared with transformers. Buggy releases must be flagged at the right stage with the
right cause; fixed releases must match.

  parity replay                                   every bug
  parity replay lmdeploy_image_slots 'vllm_*'     some bugs; --list prints their names
"""
_REPLAY_EXIT_CODES = """\
exit codes:
  0  every release has the expected verdict
  1  a release was flagged wrongly, or not at all
  2  usage error: no such replay, or a replay file does not fit the schema
  3  a release could not be run: its environment cannot be built, or nothing could be compared
"""
_BISECT = """\
Find the release in which a case changed: run both ends, then always the middle of what is left. Each release
is installed in an environment of its own, built on demand and kept in the cache.

  parity bisect --backend lmdeploy --model qwen2_vl --case one_image --good 0.8.0 --bad 0.7.3
  parity bisect --backend lmdeploy --model qwen2_vl --case one_image --from 0.7.0 --to 0.11.0
  parity bisect --backend vllm --release 0.31.0 --vary transformers --model qwen2_5_vl --case one_video \\
      --from 5.16.1 --to 5.19.0
  parity bisect --backend transformers --reference-version 5.6.2 --model qwen2_5_vl --case one_video \\
      --from 5.3.0 --to 5.6.2
"""
_BISECT_EXIT_CODES = """\
exit codes:
  0  the release was found
  1  both ends have the same outcome, or the good end does not match: nothing to find
  2  usage error
  3  an end could not be run, or releases next to the change could not
"""
_HISTORY = """\
Run some cases in a list of releases and write a table of verdicts by release.

  parity history --backend lmdeploy --model qwen2_vl --case one_image --case text_around_image \\
      --releases 0.7.3,0.8.0,0.10.2,0.11.0
  parity history --backend lmdeploy --model qwen2_vl --case one_image --from 0.7.0 --to 0.11.0
"""
_HISTORY_EXIT_CODES = """\
exit codes:
  0  every release has a verdict, whichever it is
  2  usage error
  3  a release could not be run
"""


def add_commands(commands: Commands) -> None:
    """Add ``replay``, ``bisect`` and ``history``."""
    _add_replay(commands)
    _add_bisect(commands)
    _add_history(commands)


def _add_replay(commands: Commands) -> None:
    parser = add_command(
        commands,
        "replay",
        _replay,
        summary="replay past bugs in the releases that had them",
        description=_REPLAY,
        exit_codes=_REPLAY_EXIT_CODES,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="name or shell pattern (default: all)")
    parser.add_argument("--list", action="store_true", help="only print the names, releases and titles")
    _add_common_options(parser)


def _add_bisect(commands: Commands) -> None:
    parser = add_command(
        commands,
        "bisect",
        _bisect,
        summary="find the release in which a case changed",
        description=_BISECT,
        exit_codes=_BISECT_EXIT_CODES,
    )
    _add_query_options(parser)
    parser.add_argument("--case", required=True, metavar="NAME", help="the case that changed")
    parser.add_argument(
        "--good", type=parse_version, metavar="VERSION", help="a release that matches transformers"
    )
    parser.add_argument("--bad", type=parse_version, metavar="VERSION", help="a release that does not")
    _add_end_options(parser)
    _add_common_options(parser)


def _add_history(commands: Commands) -> None:
    parser = add_command(
        commands,
        "history",
        _history,
        summary="run some cases in a list of releases",
        description=_HISTORY,
        exit_codes=_HISTORY_EXIT_CODES,
    )
    _add_query_options(parser)
    parser.add_argument(
        "--case",
        action="append",
        required=True,
        metavar="PATTERN",
        help="case by name or pattern; repeatable",
    )
    parser.add_argument(
        "--releases",
        type=parse_versions,
        metavar="VERSION,...",
        help="the releases to run, instead of --from and --to",
    )
    _add_end_options(parser)
    _add_common_options(parser)


def _add_query_options(parser: argparse.ArgumentParser) -> None:
    _add_engine_options(parser)
    _add_version_options(parser)


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--backend", required=True, metavar="NAME", help="the engine whose releases are run")
    add(
        "--model",
        required=True,
        metavar="MODEL",
        help="folder, or family (its tiny synthetic checkpoint, in files that older libraries read)",
    )
    add("--mode", default=DEFAULT_MODE, metavar="NAME", help="mode of the engine (default: %(default)s)")
    add(
        "--entry-point",
        default=str(EntryPoint.CHAT),
        choices=[str(entry_point) for entry_point in EntryPoint],
        help="API that the cases go through (default: %(default)s)",
    )
    add(
        "--engine-arg",
        action="append",
        type=parse_assignment,
        default=[],
        metavar="NAME=VALUE",
        help="argument of the engine's constructor; repeatable",
    )


def _add_version_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--vary",
        type=parse_distribution,
        metavar="DISTRIBUTION",
        help="run releases of this distribution, such as transformers, under one release of the backend "
        "(--release)",
    )
    add(
        "--release",
        type=parse_version,
        metavar="VERSION",
        help="release of the backend; only with --vary",
    )
    add(
        "--pin",
        action="append",
        type=parse_pin,
        default=[],
        metavar="NAME=VERSION",
        help="version of a distribution in every environment, instead of that in releases.toml; repeatable",
    )
    add(
        "--reference-version",
        type=parse_version,
        metavar="VERSION",
        help="release of transformers that is the reference (default: that of each environment)",
    )


def _add_end_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--from",
        dest="first",
        type=parse_version,
        metavar="VERSION",
        help="the first release to consider",
    )
    add("--to", dest="last", type=parse_version, metavar="VERSION", help="the last release to consider")


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--jobs",
        type=parse_count,
        default=2,
        metavar="N",
        help="releases that run at once (default: %(default)s)",
    )
    add(
        "--suite",
        type=parse_path,
        default=REPOSITORY_ROOT / "cases",
        metavar="DIR",
        help="folder of the tests, their conversations/ and replays/ (default: cases/ of the clone)",
    )
    add_media_roots(parser)
    add_run_folder(parser, "reports/<time>-...")


def _replay(args: argparse.Namespace) -> int:
    from vlm_parity.replay.command import run_replays

    return run_replays(args, format_timestamp(), Console())


def _bisect(args: argparse.Namespace) -> int:
    from vlm_parity.releases.command import run_bisect

    return run_bisect(args, format_timestamp(), Console())


def _history(args: argparse.Namespace) -> int:
    from vlm_parity.releases.command import run_history

    return run_history(args, format_timestamp(), Console())
