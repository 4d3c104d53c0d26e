"""The ``parity`` command: what is not pytest's job."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from vlm_parity.cli.check import add_subcommands
from vlm_parity.cli.releases import add_subcommands as add_release_commands
from vlm_parity.cli.run import run
from vlm_parity.schema.case_file import load_cases
from vlm_parity.util.clock import format_timestamp
from vlm_parity.util.errors import CaseError
from vlm_parity.util.exit_codes import FAILED, PASSED, USAGE

_DESCRIPTION = """\
Differential parity tests: are serving engines fed, and do they answer, the same as transformers?

Compare one engine, installed here:     parity run --backend vllm --model qwen2_vl --case one_image
Check a checkpoint before its release:  parity check ./my-checkpoint
Everything, each engine in its own environment:  tox
"""

_EXIT_CODES = """\
exit codes: 0 everything passes; 1 something does not pass; 2 usage error; 3 something could not be compared
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["run"]:  # its options are those of the pytest plug-in
        return run(words[1:])
    chosen = _parser().parse_args(words)
    code: int = chosen.run(chosen)
    return code


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "parity", description=_DESCRIPTION, epilog=_EXIT_CODES, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="compare engines with transformers (parity run --help)", add_help=False)
    add_subcommands(commands)
    add_release_commands(commands)
    _add_report(commands)
    _add_selfcheck(commands)
    _add_promote(commands)

    cases = commands.add_parser("cases", help="check case files and list them")
    cases.add_argument("folder", type=Path, nargs="?", default=Path("cases/conversations"))
    cases.set_defaults(run=_cases)

    repair = commands.add_parser(
        "fix-torchvision",
        help="repair this environment's torchvision where its compiled part cannot load",
        description="Beside a CPU build of PyTorch, pip may install CUDA builds of torchvision, torchaudio "
        "and torchcodec, which cannot load. Makes torchvision importable and uninstalls the other two; does "
        "nothing where they work.",
    )
    repair.set_defaults(run=_repair)

    cache = commands.add_parser("cache", help="show or empty the cache of models and reference traces")
    cache.add_argument("--clear", action="store_true", help="throw everything away")
    cache.set_defaults(run=_cache)
    return parser


def _add_report(commands: _Commands) -> None:
    report = commands.add_parser(
        "report",
        help="merge the parts of one or more runs into one report",
        description="Copies (or moves) the parts of the runs into one run folder and writes its pages. "
        "The exit code tells whether everything in it passes.",
    )
    report.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folder, as pytest --run wrote it"
    )
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder to write (default: reports/<time>)"
    )
    report.add_argument("--move-shards", action="store_true", help="move the parts instead of copying them")
    report.add_argument(
        "--require-shard",
        action="append",
        default=[],
        metavar="SHARD",
        dest="expect",
        help="shard that must exist; repeatable",
    )
    report.add_argument(
        "--known-issues",
        type=Path,
        metavar="FILE",
        help="apply this file of known issues to the verdicts again; no engine starts",
    )
    report.add_argument(
        "--matrix", type=Path, metavar="FILE", help="write models by backends and ways in there, as Markdown"
    )
    report.set_defaults(run=_report)


def _add_selfcheck(commands: _Commands) -> None:
    selfcheck = commands.add_parser(
        "selfcheck",
        help="plant faults in real engines and see what the harness makes of them",
        description="Loads each engine once, asks it clean, with one fault after the other, and clean "
        "again. Faults and clean controls stand in harness/vlm_parity/selfcheck/. The exit code is 0 only if in "
        "float32 every fault was found at the right stage with the right cause, and nothing else was.",
    )
    selfcheck.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="engine to plant faults in; repeatable (default: every installed one)",
    )
    selfcheck.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="FAMILY",
        help="only this family; repeatable (default: all that a fault names)",
    )
    selfcheck.add_argument(
        "--dtype",
        action="append",
        default=[],
        choices=["float32", "bfloat16", "float16"],
        help="repeatable (default: float32 and bfloat16)",
    )
    selfcheck.add_argument(
        "--fault", default="*", metavar="PATTERN", help="only faults whose name fits this shell pattern"
    )
    selfcheck.add_argument(
        "--quick",
        action="store_true",
        help="one family in float32, no variants: to check a change with",
    )
    selfcheck.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where the engines run (default: %(default)s)",
    )
    selfcheck.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        dest="run_folder",
        help="run folder to write into (default: reports/<time>-selfcheck)",
    )
    selfcheck.add_argument(
        "--shard", metavar="NAME", dest="shard", help="name of this environment's shard of the run"
    )
    selfcheck.add_argument(
        "--report-only", action="store_true", help="start no engine; write the page of the existing shards"
    )
    selfcheck.add_argument(
        "--require-shard",
        action="append",
        default=[],
        metavar="SHARD",
        dest="expect",
        help="shard that must exist; repeatable",
    )
    selfcheck.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    selfcheck.set_defaults(run=_selfcheck)


def _add_promote(commands: _Commands) -> None:
    promote = commands.add_parser(
        "promote",
        help="keep what the fuzzer found as cases that are run every time",
        description="Copies shrunk cases from a run into cases/regressions/, where pytest cases finds them. "
        "Nothing is overwritten.",
    )
    promote.add_argument(
        "found", type=Path, metavar="RUN-OR-FILE", help="run folder, or the file of one case"
    )
    promote.add_argument("names", nargs="*", metavar="NAME", help="cases of the run (default: all)")
    promote.add_argument("--name", dest="rename", metavar="NAME", help="what the one case is to be called")
    promote.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        default=Path("cases/regressions"),
        help="folder to write into (default: %(default)s)",
    )
    promote.set_defaults(run=_promote)


def _report(chosen: argparse.Namespace) -> int:
    from vlm_parity.report.matrix_markdown import render_markdown
    from vlm_parity.report.publish import apply_known_issues_to_run, merge_runs, publish_report
    from vlm_parity.report.terminal import print_summary
    from vlm_parity.schema.record import write_atomically
    from vlm_parity.util.errors import KnownIssuesError
    from vlm_parity.verdicts.known_issues import read_known_issues

    absent = [str(run) for run in chosen.runs if not run.is_dir()]
    if absent and not chosen.expect:
        sys.stderr.write(f"no such run folder: {', '.join(absent)}\n")
        return USAGE
    out = chosen.out or Path("reports") / format_timestamp()
    missing = merge_runs(chosen.runs, out, move=chosen.move_shards, expected=chosen.expect)
    if chosen.known_issues:
        try:
            apply_known_issues_to_run(out, read_known_issues(chosen.known_issues))
        except KnownIssuesError as problem:
            sys.stderr.write(f"{problem}\n")
            return USAGE
    run = publish_report(out)
    if chosen.matrix:
        write_atomically(chosen.matrix, render_markdown(run).encode())
    console = Console()
    print_summary(run, console)
    for part in missing:
        console.print(f"part {part} is missing: its session wrote nothing", style="red", highlight=False)
    return PASSED if run.passes and not missing else FAILED


def _selfcheck(chosen: argparse.Namespace) -> int:
    from vlm_parity.selfcheck.command import run_selfcheck
    from vlm_parity.util.errors import UsageError

    try:
        return PASSED if run_selfcheck(chosen, format_timestamp(), Console()) else FAILED
    except UsageError as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE


def _promote(chosen: argparse.Namespace) -> int:
    from vlm_parity.fuzz.promote import promote_findings
    from vlm_parity.util.errors import PromotionError

    try:
        written = promote_findings(chosen.found, chosen.names, chosen.output_dir, chosen.rename)
    except PromotionError as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE
    for path in written:
        sys.stdout.write(f"{path}\n")
    return PASSED


def _cases(chosen: argparse.Namespace) -> int:
    try:
        cases = load_cases(chosen.folder)
    except CaseError as problem:
        sys.stderr.write(f"{problem}\n")
        return FAILED
    for name, case in cases.items():
        sys.stdout.write(f"{name:24} {'+'.join(case.modalities) or 'text':12} {case.summary}\n")
    return PASSED


def _repair(_: argparse.Namespace) -> int:
    from vlm_parity.python_env.repair import repair_torchvision

    for sentence in repair_torchvision() or ["nothing is broken"]:
        sys.stdout.write(f"{sentence}\n")
    return PASSED


def _cache(chosen: argparse.Namespace) -> int:
    from vlm_parity.util.cache_dir import get_cache_root

    root = get_cache_root()
    if chosen.clear and root.exists():
        shutil.rmtree(root)
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sys.stdout.write(f"{size / 1e9:8.2f} GB  {folder}\n")
    sys.stdout.write(f"{root}{'' if root.is_dir() else ' (empty)'}\n")
    return PASSED


if __name__ == "__main__":
    sys.exit(main())
