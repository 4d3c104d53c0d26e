"""Records of the self-check that contradict themselves, or cannot be read, keep it from passing."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.selfcheck_records import make_control_row, make_fault_row, make_selfcheck
from vlm_parity.schema.record import write_record
from vlm_parity.schema.run_layout import SELFCHECK_RECORD
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.page import read_selfcheck
from vlm_parity.selfcheck.record import SelfcheckRecord


def write(run: Path, record: SelfcheckRecord, shard: str = "vllm") -> Path:
    path = run / "shards" / shard / SELFCHECK_RECORD
    write_record(path, record)
    return path


def test_a_consistent_record_passes(tmp_path: Path) -> None:
    missed = make_fault_row(dtype="bfloat16", visible=False, detected=False, stage=None, cause="")
    missed = missed.model_copy(
        update={"is_stage_correct": False, "grade": CauseGrade.NONE, "confidence": None}
    )
    write(tmp_path, make_selfcheck(make_fault_row(), missed))
    assert read_selfcheck(tmp_path).problems == ()
    assert read_selfcheck(tmp_path).passes


@pytest.mark.parametrize(
    ("record", "phrase"),
    [
        (make_selfcheck(make_fault_row(stage=Stage.PROMPT)), "is at prompt, not prefill"),
        (make_selfcheck(make_fault_row(cause="another")), "which the grade specific contradicts"),
        (make_selfcheck(make_fault_row(grade=CauseGrade.GENERAL)), "which the grade general contradicts"),
        (make_selfcheck(make_fault_row(detected=False)), "which the grade specific contradicts"),
        (make_selfcheck(make_fault_row(confidence=None)), "'logits scaled' with the confidence None"),
        (make_selfcheck(make_fault_row(detected=False)), "which is_stage_correct contradicts"),
        (make_selfcheck(make_fault_row(stage=None)), "was detected at no stage"),
        (make_selfcheck(clean_comparisons=28), "clean_comparisons is 28, but its controls have 27"),
        (make_selfcheck(controls=(make_control_row(false_alarms=1),)), "false_alarms is 0, but its controls"),
        (make_selfcheck(controls=(make_control_row(largest_limit_ratio=9.0),)), "but the limit ratio 9.0"),
        (make_selfcheck(controls=(make_control_row(largest_limit_ratio=math.nan),)), "limit ratio nan"),
        (make_selfcheck(controls=(make_control_row(messages=("one_image: crash",)),)), "one_image: crash"),
        (make_selfcheck(expected_engines=1, finished_engines=2), "2 of 1 engines are finished"),
    ],
)
def test_a_contradiction_is_a_problem(tmp_path: Path, record: SelfcheckRecord, phrase: str) -> None:
    path = write(tmp_path, record)
    check = read_selfcheck(tmp_path)
    assert any(problem.startswith(f"{path}: ") and phrase in problem for problem in check.problems)
    assert not check.passes


def test_one_environment_does_not_make_up_for_another(tmp_path: Path) -> None:
    write(tmp_path, make_selfcheck(expected_engines=2, finished_engines=1), "one")
    write(tmp_path, make_selfcheck(expected_engines=1, finished_engines=2), "two")
    assert not read_selfcheck(tmp_path).passes


@pytest.mark.parametrize("change", [{"expected_engines": -1}, {"seconds": "NaN"}, {"faults": [{}]}, None])
def test_an_unreadable_record_is_a_problem(tmp_path: Path, change: dict[str, Any] | None) -> None:
    write(tmp_path, make_selfcheck(), "intact")
    path = write(tmp_path, make_selfcheck())
    path.write_text(json.dumps(json.loads(path.read_text()) | change) if change else "{")
    check = read_selfcheck(tmp_path)
    assert check.problems[0].startswith(f"{path}: not a readable SelfcheckRecord")
    assert len(check.faults) == 1
    assert not check.passes


@pytest.mark.parametrize("kind", ["record", "shard", "pipe"])
def test_nothing_outside_of_the_run_is_read(tmp_path: Path, kind: str) -> None:
    path, elsewhere = write(tmp_path / "run", make_selfcheck()), tmp_path / "elsewhere"
    target = path.parent if kind == "shard" else path
    target.rename(elsewhere)
    os.mkfifo(path) if kind == "pipe" else target.symlink_to(elsewhere)
    check = read_selfcheck(tmp_path / "run")
    assert len(check.problems) == 1
    assert not check.faults
