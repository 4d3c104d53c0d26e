"""Progress of loads on a terminal and in a log."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tests.support.hostile_text import find_terminal_dangers
from vlm_parity.cluster.progress import track_loads

CURSOR = re.compile(r"\x1b\[[?\d]*[A-Zhl]|\r")
"""Movements of the cursor, by rich."""
HOSTILE = "\x1b[31m[bold]x[/bold] ::error::y"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_all_loads_are_in_one_view(is_terminal: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, color_system=None, width=200)
    with track_loads(console, 2) as progress:
        progress.report_line("a", "node1", "loading")
        progress.report_line("b", "node2", HOSTILE)
        progress.report_end("a", "received, 3 s")
        progress.report_note("node node2 was lost")
        progress.report_end("b", f"no result: {HOSTILE}")
    text = file.getvalue()
    for expected in (
        "a on node1: loading",
        "1/2 a: received, 3 s",
        "node node2 was lost",
        "2/2 b: no result: ",
    ):
        assert expected in text
    assert "[bold]x[/bold]" in text
    assert is_terminal == ("engine loads" in text)
    assert "\x1b[31m" not in text
    assert find_terminal_dangers(CURSOR.sub("", text)) == []
