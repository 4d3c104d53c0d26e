"""Commands in the documentation: every subcommand, option and tox environment exists."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest

from vlm_parity.cli.main import build_parser
from vlm_parity.cli.run import build_run_parser
from vlm_parity.pytest_plugin.option_table import PREFIX

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SYNTAX = re.compile(r"\[|\.\.\.")
"""Marks a line that shows the syntax of a command in place of a command."""


def list_commands(program: str) -> list[str]:
    """Return the commands of the pages that run a program, continued lines joined, comments removed."""
    lines = [
        line
        for page in PAGES
        for block in FENCE.findall(page.read_text(encoding="utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = {
        shlex.join(shlex.split(line, comments=True)) for line in lines if line.split()[:1] == [program]
    }
    return sorted(command for command in commands if not SYNTAX.search(command))


@pytest.mark.parametrize("command", list_commands("parity"))
def test_parity_takes_the_command(command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] != "run":
        build_parser().parse_args(words)
        return
    own_words = words[1 : words.index("--")] if "--" in words else words[1:]
    build_run_parser()[0].parse_intermixed_args(own_words)


@pytest.mark.parametrize("command", list_commands("pytest"))
def test_the_plug_in_has_the_options(command: str) -> None:
    _, names = build_run_parser()
    used = {word.removeprefix(PREFIX).partition("=")[0] for word in shlex.split(command) if PREFIX in word}
    assert used <= names


@pytest.mark.parametrize("command", list_commands("tox"))
def test_tox_has_the_environments(command: str) -> None:
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    words = shlex.split(command)
    named = words[words.index("-e") + 1].split(",") if "-e" in words else []
    sections = {section.partition(":")[2] for section in tox.sections() if section.startswith("testenv:")}
    known = sections | {"matrix", "matrix-logits"} | {"vllm", "vllm-latest", "lmdeploy", "lmdeploy-latest"}
    assert set(named) <= known
