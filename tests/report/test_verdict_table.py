"""The table of the index: nothing is lost, and no text leaves its string."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.verdicts import make_verdict
from vlm_parity.changes.classify import ChangeClass
from vlm_parity.report.entries import VerdictEntry
from vlm_parity.report.page_styles import STAGE_SYMBOLS, get_light
from vlm_parity.report.verdict_table import build_verdict_table, render_table_script
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict
from vlm_parity.util.text import escape_invisible_lines

HOSTILE = st.text() | st.sampled_from(
    ["</script><script>alert(1)</script>", "<!--", "\u2028", "__proto__", "]]>"]
)


def make_entries(*verdicts: Verdict) -> list[VerdictEntry]:
    return [
        VerdictEntry("vllm", verdict, f"cases/{number}.html", Path("x"))
        for number, verdict in enumerate(verdicts)
    ]


def parse_script(script: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(script.removeprefix("globalThis.verdictTable = ").removesuffix(";\n"))
    return table


def read_column(table: dict[str, Any], name: str) -> list[Any]:
    column = table["columns"][name]
    return [column["values"][row] for row in column["rows"]] if "values" in column else column["rows"]


@given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=5))
def test_texts_come_back_as_the_pages_show_them(texts: list[tuple[str, str]]) -> None:
    verdicts = [
        make_verdict(case="c").model_copy(update={"case": case, "reason": reason}) for case, reason in texts
    ]
    script = render_table_script(build_verdict_table(make_entries(*verdicts)))
    table = parse_script(script)
    assert read_column(table, "case") == [escape_invisible_lines(case) for case, _ in texts]
    assert [reason[:100] for reason in read_column(table, "reason")] == [
        escape_invisible_lines(reason[:160])[:100] for _, reason in texts
    ]
    assert script.isascii()
    assert "<" not in script
    assert script.count("\n") == 1


def test_equal_texts_are_stored_once() -> None:
    table = build_verdict_table(make_entries(*(make_verdict(case=name) for name in "aba")))
    assert table["columns"]["case"] == {"values": ["a", "b"], "rows": [0, 1, 0]}


def test_lights_are_those_of_the_pages() -> None:
    verdict = make_verdict({Stage.SPANS: 1}, not_compared=[Stage.VISION])
    table = build_verdict_table(make_entries(verdict))
    lights = [table["lights"][ord(code) - ord("a")] for code in read_column(table, "lights")[0]]
    expected = [get_light(verdict.stage(Stage(stage))) for stage, _ in table["stages"]]
    assert lights == [{"style": light.style, "label": light.label} for light in expected]


@pytest.mark.parametrize(
    ("ratio", "stored"), [(1234.5678, 1235.0), (0.0123456, 0.01235), (math.inf, "inf"), (math.nan, "inf")]
)
def test_numbers_are_json(ratio: float, stored: float | str) -> None:
    table = build_verdict_table(make_entries(make_verdict({Stage.PREFILL: ratio})))
    assert read_column(parse_script(render_table_script(table)), "limit_ratio") == [stored]


def test_the_column_of_changes_exists_only_with_a_baseline() -> None:
    entries = make_entries(make_verdict(case="a"), make_verdict(case="b"))
    assert "change" not in build_verdict_table(entries)["columns"]
    changes = {entries[0].page: ChangeClass.NEW}
    assert read_column(build_verdict_table(entries, changes), "change") == ["new difference", ""]


def test_every_stage_has_a_symbol_of_its_own() -> None:
    assert list(STAGE_SYMBOLS) == list(Stage)
    assert len(set(STAGE_SYMBOLS.values())) == len(Stage)
