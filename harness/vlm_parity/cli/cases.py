"""``parity cases`` and ``parity promote``: case files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vlm_parity.cli.parsers import Commands, add_command, add_media_roots
from vlm_parity.schema.case_file import load_cases
from vlm_parity.util.errors import CaseError, UsageError
from vlm_parity.util.exit_codes import FAILED, PASSED
from vlm_parity.util.option_paths import check_folder
from vlm_parity.util.option_types import parse_path
from vlm_parity.util.text import escape_terminal

DEFAULT_FOLDER = Path("cases/conversations")
"""The folder of case files in a clone."""

_CASES = """\
Check case files against the schema and list them: name, modalities, summary.

  parity cases
  parity cases my_cases/conversations

Or show what each side will be passed for one case, without an engine: the messages and arguments of the
reference, of each backend's chat API and of its server, media by their type and size.

  parity cases --explain cases/conversations/tools.yaml
  parity cases --explain my_case.yaml --model qwen2_5_omni     with what this family's processor needs besides
"""
_CASES_EXIT_CODES = """\
exit codes:
  0  every case file fits the schema
  1  a case file does not fit
  2  usage error: no such folder, or it holds no case file
"""
_PROMOTE = """\
Copy shrunk cases that the fuzzer found into cases/regressions/, where every `parity run` runs them. Existing
files are not overwritten.

  parity promote reports/fuzz                                      every finding
  parity promote reports/fuzz vllm_1a2b3c --name two_small_images  one finding, renamed
"""


def add_commands(commands: Commands) -> None:
    """Add ``cases`` and ``promote``."""
    cases = add_command(
        commands,
        "cases",
        _list_cases,
        summary="check case files and list them",
        description=_CASES,
        exit_codes=_CASES_EXIT_CODES,
    )
    cases.add_argument(
        "folder",
        type=parse_path,
        nargs="?",
        metavar="DIR",
        help=f"folder of case files (default: {DEFAULT_FOLDER})",
    )
    cases.add_argument(
        "--explain", type=parse_path, metavar="FILE", help="show what each side is passed for one case file"
    )
    cases.add_argument(
        "--model", metavar="FAMILY", help="with --explain: add the processor kwargs that this family needs"
    )
    add_media_roots(cases)
    promote = add_command(
        commands,
        "promote",
        _promote,
        summary="turn findings of the fuzzer into permanent cases",
        description=_PROMOTE,
    )
    promote.add_argument(
        "source", type=parse_path, metavar="RUN_OR_FILE", help="run folder, or one case file"
    )
    promote.add_argument("names", nargs="*", metavar="NAME", help="cases of the run (default: all)")
    promote.add_argument("--name", dest="new_name", metavar="NAME", help="new name of the one case")
    promote.add_argument(
        "--output-dir",
        type=parse_path,
        metavar="DIR",
        default=Path("cases/regressions"),
        help="folder to write into (default: %(default)s)",
    )


def _list_cases(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return _explain_case(args)
    if args.model is not None:
        raise UsageError("--model: belongs to --explain FILE")
    folder = args.folder or DEFAULT_FOLDER
    if args.folder is None and not folder.is_dir():
        raise UsageError(f"no folder {folder}/ here: run in a clone of vlm-parity, or name a folder of cases")
    check_folder("DIR", folder)
    if not any(folder.glob("*.yaml")):
        raise UsageError(f"DIR {folder}: holds no case file (*.yaml)")
    try:
        cases = load_cases(folder, media_roots=args.media_root)
    except CaseError as error:  # the check's result, not a wrong argument
        sys.stderr.write(f"{escape_terminal(str(error))}\n")
        return FAILED
    for name, case in cases.items():
        line = f"{name:24} {'+'.join(case.modalities) or 'text':17} {case.summary}"
        sys.stdout.write(f"{escape_terminal(line)}\n")
    return PASSED


def _explain_case(args: argparse.Namespace) -> int:
    import yaml

    from vlm_parity.check.explain_case import explain_case
    from vlm_parity.models.registry import FAMILIES
    from vlm_parity.schema.case_file import load_case
    from vlm_parity.util.suggestions import describe_unknown_name

    if args.folder is not None:
        raise UsageError(f"DIR {args.folder}: --explain takes one FILE and no folder")
    if args.model is not None and args.model not in FAMILIES:
        raise UsageError(describe_unknown_name("--model", args.model, FAMILIES, "no such family"))
    case = load_case(args.explain, args.media_root)
    try:
        for side, explanation in explain_case(case, args.model):
            text = yaml.safe_dump({side: explanation}, allow_unicode=True, sort_keys=False, width=100)
            for line in text.splitlines():
                sys.stdout.write(f"{escape_terminal(line)}\n")
    except ModuleNotFoundError as error:
        raise UsageError(f"--model {args.model}: needs {error.name}, which is not installed here") from error
    return PASSED


def _promote(args: argparse.Namespace) -> int:
    from vlm_parity.fuzz.promote import promote_findings

    for path in promote_findings(args.source, args.names, args.output_dir, args.new_name):
        sys.stdout.write(f"{escape_terminal(str(path))}\n")
    return PASSED
