"""The page, table and file of the self-check."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from tests.support.selfcheck_records import make_control_row, make_fault_row, make_selfcheck
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.markdown import render_markdown
from vlm_parity.selfcheck.page import format_headline, print_selfcheck, write_selfcheck_page
from vlm_parity.selfcheck.record import SelfcheckRecord

HOSTILE = "<script>alert(1)</script>"


def write_shards(folder: Path, *shards: SelfcheckRecord) -> Path:
    for number, shard in enumerate(shards):
        write_record(folder / "shards" / str(number) / SELFCHECK_RECORD, shard)
    return folder


def test_the_headline_counts_visible_faults_only() -> None:
    headline = format_headline(
        make_selfcheck(
            make_fault_row(),
            make_fault_row(visible=False, detected=False),
            make_fault_row(grade=CauseGrade.GENERAL),
            make_fault_row(grade=CauseGrade.WRONG),
        )
    )
    assert headline == (
        "3 of 3 visible faults detected in float32, 3 at the right stage; "
        "causes: 1 specific (33 %), 1 general, 1 wrong, 0 none; 0 false alarms in 27 clean comparisons"
    )


def test_the_file_has_all_fields(tmp_path: Path) -> None:
    write_selfcheck_page(
        write_shards(
            tmp_path, make_selfcheck(), make_selfcheck(make_fault_row(backend="lmdeploy", limit_ratio=None))
        )
    )
    document = json.loads((tmp_path / SELFCHECK_RECORD).read_text())
    assert (document["clean_comparisons"], document["false_alarms"]) == (54, 0)
    keys = {
        "fault",
        "backend",
        "model",
        "case",
        "visible",
        "detected",
        "is_stage_correct",
        "grade",
        "confidence",
        "limit_ratio",
    }
    assert all(keys <= set(row) for row in document["faults"])
    assert [row["limit_ratio"] for row in document["faults"]] == [12.5, None]


def test_the_page_shows_missed_faults(tmp_path: Path) -> None:
    missed = make_fault_row(fault="rope theta", detected=False, stage=None, cause="")
    write_selfcheck_page(write_shards(tmp_path, make_selfcheck(missed)))
    page = (tmp_path / "selfcheck.html").read_text()
    assert "The self-check does not pass." in page
    assert "<b>not detected</b>; expected at prefill" in page


def test_messages_of_engines_are_escaped(tmp_path: Path) -> None:
    row = make_fault_row(fault=HOSTILE, cause=HOSTILE, message=HOSTILE, case=HOSTILE)
    shard = make_selfcheck(
        row,
        controls=(make_control_row(messages=(HOSTILE,)),),
        problems=(HOSTILE,),
        packages={HOSTILE: HOSTILE},
    )
    write_selfcheck_page(write_shards(tmp_path, shard))
    assert HOSTILE not in (tmp_path / "selfcheck.html").read_text()


def test_the_document_has_a_line_for_each_fault() -> None:
    rows = (
        make_fault_row(),
        make_fault_row(model="qwen3_vl", limit_ratio=3.5),
        make_fault_row(dtype="bfloat16", visible=False),
    )
    lines = render_markdown(make_selfcheck(*rows)).splitlines()
    expected = "| attention scale off | vllm: qwen2_vl, qwen3_vl | prefill | logits scaled | 2 specific "
    assert expected + "| 2 of 2 of 2, 3.5x | 0 of 0 of 1 |" in lines
    assert "| float32 | 2 | 2 | 2 | 2 | 2 | 0 | 0 | 0 | 100 % | 0 | 3.5 | 0.7 |" in lines


def test_the_terminal_shows_the_same(tmp_path: Path) -> None:
    console = Console(width=200, record=True)
    record = make_selfcheck(
        make_fault_row(),
        make_fault_row(fault="[bold]rope", visible=False, detected=False),
        problems=("it died",),
    )
    print_selfcheck(record, tmp_path, console)
    text = console.export_text()
    assert "[bold]rope" in text
    assert "wrong ones above a confidence of 0.5: 0; aim: at least 70 % specific" in " ".join(text.split())
    assert "not visible" in text
    assert "it died" in text
    assert "The self-check does not pass." in text
    assert "smallest limit ratio 12.5, largest without a fault 0.70" in text
