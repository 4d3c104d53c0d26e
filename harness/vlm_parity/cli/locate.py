"""``parity locate``: name the modules behind the differences of a run."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_parity.cli.parsers import Commands, add_command, add_media_roots, add_run_folder
from vlm_parity.cli.run import run_comparison
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.util.errors import UsageError
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, SESSION_FINISHED
from vlm_parity.util.option_paths import check_folder
from vlm_parity.util.option_types import parse_assignment, parse_path, parse_text
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.schema.verdict import Verdict

_DESCRIPTION = """\
Name the modules of the model behind a difference at vision, prefill or decode. The cases are compared again,
in the environment of the engine, as `parity run --locate` does; both sides record the inputs and outputs of
every module. In the reference, each module then receives the engine's inputs: one whose output differs all
the same is computed differently.

  parity locate reports/latest one_image --backend lmdeploy
  parity locate reports/latest 'two_*' --backend vllm --model qwen2_vl
  parity locate reports/latest one_image --checkpoint org/name@revision --engine-arg max_num_seqs=1

A run does not state where its checkpoints are: name one by --checkpoint if it is no synthetic one.

At most 1 GiB of module values are recorded for a case, on one GPU or a CPU. If a model has more, its blocks
are compared first; --within NAME then records the modules of one of them.

  parity locate reports/located one_image --within model.language_model.layers.7
"""
_EXIT_CODES = """\
exit codes:
  0  the modules of every selected difference were compared
  1  the difference was not found again, or its modules could not be compared
  2  usage error: no such run, or it holds no such difference
  3  the comparison itself did not run, because the engine is not installed or the session was interrupted
"""


def add_commands(commands: Commands) -> None:
    """Add ``locate``."""
    parser = add_command(
        commands,
        "locate",
        _locate,
        summary="name the modules of the model behind a difference",
        description=_DESCRIPTION,
        exit_codes=_EXIT_CODES,
    )
    add = parser.add_argument
    add("folder", type=parse_path, metavar="RUN", help="run folder that holds the verdicts")
    add("case", type=parse_text, metavar="CASE", help="case by name or shell pattern")
    add("--backend", type=parse_text, metavar="NAME", help="only verdicts on this backend")
    add("--model", type=parse_text, metavar="NAME", help="only verdicts on this model, as the run names it")
    add("--mode", type=parse_text, metavar="NAME", help="only verdicts in this mode")
    add(
        "--cases",
        type=parse_path,
        metavar="DIR",
        help="folder of case files (default: those next to the test modules)",
    )
    add(
        "--checkpoint",
        type=parse_text,
        metavar="MODEL",
        help="folder or hub id of the model, if it is no family, as for `parity run --model`",
    )
    add(
        "--within",
        type=parse_text,
        metavar="MODULE",
        help="record the modules of this block only: one that RUN names, in which all modules exceeded 1 GiB",
    )
    add(
        "--engine-arg",
        type=parse_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the engine with which the run was made; repeatable",
    )
    add_media_roots(parser)
    add_run_folder(parser, "reports/<time>")


def _locate(args: argparse.Namespace) -> int:
    from vlm_parity.report.load_run import load_run
    from vlm_parity.report.module_views import group_by_cause, summarize_location
    from vlm_parity.util.clock import format_timestamp

    check_folder("RUN", args.folder)
    selected = list(_select_verdicts(args, (entry.verdict for entry in load_run(args.folder).verdicts)))
    if not selected:
        raise UsageError(
            f"RUN {args.folder}: no verdict on case {args.case!r} differs at vision, prefill or "
            "decode with the selected backend, model and mode"
        )
    _check_models(args, selected)
    folder = args.run_folder or Path("reports") / format_timestamp()
    commands = [
        _build_words(args, verdict, folder, _name_shard(index)) for index, verdict in enumerate(selected, 1)
    ]
    exit_codes = [run_comparison(words) for words in commands]
    located: dict[str, Verdict] = {entry.shard: entry.verdict for entry in load_run(folder).verdicts}
    is_complete = True
    for index, verdict in enumerate(selected, 1):
        found = located.get(_name_shard(index))
        locations = found.locations if found is not None else ()
        _print(f"{verdict.case} in {verdict.label}, {verdict.model}:")
        for location in locations:
            _print(f"  {summarize_location(location, verdict.backend)}")
            for cause, modules in group_by_cause(location):
                first = f"{modules[0].module}, {modules[0].point}, distance {modules[0].distance:.2g}"
                more = f", and {len(modules) - 1} more" if len(modules) > 1 else ""
                _print(f"    {cause}: {first}{more}")
        if not locations:
            _print("  The difference was not found again.")
        is_complete &= bool(locations) and not any(location.problem for location in locations)
    if not SESSION_FINISHED.issuperset(exit_codes):
        return NOT_COMPARED
    return PASSED if is_complete else FAILED


def _select_verdicts(args: argparse.Namespace, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    from vlm_parity.verdicts.module_stages import find_module_differences

    for verdict in verdicts:
        is_selected = fnmatchcase(verdict.case, args.case) and all(
            wanted in {None, value}
            for wanted, value in (
                (args.backend, verdict.backend),
                (args.model, verdict.model),
                (args.mode, verdict.mode),
            )
        )
        if is_selected and find_module_differences(verdict):
            yield verdict


def _check_models(args: argparse.Namespace, verdicts: Iterable[Verdict]) -> None:
    """Raise a usage error if a model cannot be found by its name in the run."""
    from vlm_parity.models.registry import FAMILIES

    models = dict.fromkeys(verdict.model for verdict in verdicts)
    unknown = [model for model in models if model not in FAMILIES]
    if args.checkpoint is not None and len(models) > 1:
        raise UsageError(
            f"--checkpoint: the verdicts are on several models, {', '.join(models)}; select --model"
        )
    if args.checkpoint is None and unknown:
        raise UsageError(f"{unknown[0]} is no family: state its folder or hub id by --checkpoint")


def _find_engine_block(args: argparse.Namespace, verdict: Verdict) -> str:
    """Return the engine's name of a block that a run names.

    Raises:
        UsageError: the run does not name it.
    """
    for location in verdict.locations:
        for difference in location.differences:
            if difference.module == args.within and difference.engine_module:
                return difference.engine_module
    raise UsageError(
        f"--within {args.within}: RUN {args.folder} names no such block in {verdict.case}; RUN is the folder "
        "that an earlier `parity locate` has written"
    )


def _name_shard(index: int) -> str:
    return f"locate-{index}"


def _build_words(args: argparse.Namespace, verdict: Verdict, folder: Path, shard: str) -> list[str]:
    """Return the command line of ``parity run`` for one verdict.

    Values come from a record, so each is part of one word, which cannot be an option of its own.
    """
    environment = verdict.tested.environment
    words = [
        "--locate",
        f"--backend={verdict.backend}",
        f"--model={args.checkpoint or verdict.model}",
        f"--case={glob.escape(verdict.case)}",
        f"--dtype={environment.dtype}",
        f"--device={environment.device}",
        f"--run={folder}",
        f"--shard={shard}",
    ]
    if verdict.mode != DEFAULT_MODE:
        words.append(f"--mode={verdict.mode}")
    if verdict.entry_point is not EntryPoint.CHAT:
        words.append(f"--entry-point={verdict.entry_point}")
    if args.cases is not None:
        words.append(f"--cases={args.cases}")
    words += [f"--media-root={root}" for root in args.media_root]
    if args.within is not None:
        words.append(f"--locate-within={args.within}={_find_engine_block(args, verdict)}")
    words += [f"--engine-arg={text}" for text in args.engine_arg]
    return [*words, "--", "-q", "-p", "no:cacheprovider"]


def _print(line: str) -> None:
    sys.stdout.write(f"{escape_terminal(line)}\n")
