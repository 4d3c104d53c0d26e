"""Every place that prints escapes its text: the calls of the harness that write to a terminal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "harness" / "vlm_parity"
SINKS = {"print", "sys.stdout.write", "sys.stderr.write"}
PRINTED_BY_PYTEST = {"pytest.UsageError", "pytest.exit"}
"""Their texts quote the user's own options, and are escaped if they quote an error."""
EXEMPT = {
    "util/terminal.py",  # escapes for rich
    "backends/server/process.py",  # copies the output of a server to the log file of its engine
    "releases/checkpoint.py",  # prints the path of a folder to its parent process
}
ESCAPING = ("escape_terminal", "format_annotation")
FORBIDDEN = {"rich.markup", "rich.padding"}
"""Modules for text with markup: ``vlm_parity.util.terminal`` prints plain text."""
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
REMEDY = "escape the text with escape_terminal, or print it with vlm_parity.util.terminal"


def list_raw_texts(tree: ast.AST) -> Iterator[str]:
    """Yield the calls that print a text without escaping it: neither a literal nor a table."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
        name, text = ast.unparse(call.func), ast.unparse(call.args[0])
        names = {node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)}
        is_raw = (
            (name.endswith("console.print") and "table" not in text)
            or (name in SINKS and names)
            or (name in PRINTED_BY_PYTEST and "error" in names)
        )
        if is_raw and not any(f"{function}(" in text for function in ESCAPING):
            yield f"line {call.lineno}: {name}({text}): {REMEDY}"


@pytest.mark.parametrize("module", MODULES)
def test_no_text_is_printed_raw(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & FORBIDDEN, REMEDY
    if module not in EXEMPT:
        assert list(list_raw_texts(tree)) == []


def test_a_raw_text_is_found() -> None:
    source = 'sys.stderr.write(f"{error}"); console.print(line); print("fixed"); console.print(table)'
    assert len(list(list_raw_texts(ast.parse(source)))) == 2
