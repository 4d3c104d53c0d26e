"""Exit codes in the help of each command and in the documentation."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from vlm_parity.cli.main import build_parser
from vlm_parity.cli.run import build_run_parser
from vlm_parity.util.exit_codes import FAILED, NOT_COMPARED, PASSED, USAGE

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "verdicts.md"


def list_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    (commands,) = [
        action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    yield from commands.choices.items()


def read_help(name: str, parser: argparse.ArgumentParser) -> set[int]:
    """Return the exit codes in the help of a command."""
    epilog = build_run_parser()[0].epilog if name == "run" else parser.epilog
    return {int(code) for code in re.findall(r"^  (\d)  ", epilog or "", re.MULTILINE)}


def read_documentation() -> dict[str, set[int]]:
    """Return the exit codes of each command in the documentation; the table leaves out 0 and 2."""
    section = PAGE.read_text(encoding="utf-8").partition("## Exit codes")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|(.*)\|$", section, re.MULTILINE)
    codes = {name: {PASSED, USAGE} for name, _ in list_parsers()}
    for name, failed, not_compared in rows:
        if name in codes:
            codes[name] |= {FAILED} if failed.strip() else set()
            codes[name] |= {NOT_COMPARED} if not_compared.strip() else set()
    return codes


def test_help_and_documentation_agree() -> None:
    assert {name: read_help(name, parser) for name, parser in list_parsers()} == read_documentation()
