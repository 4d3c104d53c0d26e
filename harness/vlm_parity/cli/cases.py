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


def _promote(args: argparse.Namespace) -> int:
    from vlm_parity.fuzz.promote import promote_findings

    for path in promote_findings(args.source, args.names, args.output_dir, args.new_name):
        sys.stdout.write(f"{escape_terminal(str(path))}\n")
    return PASSED
