"""Conditions under which the self-check passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.selfcheck_records import make_fault_row, make_selfcheck
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.record import merge_selfchecks


def test_it_passes_if_every_fault_is_found() -> None:
    assert make_selfcheck().passes


@pytest.mark.parametrize(
    "missed",
    [{"detected": False, "is_stage_correct": False, "grade": CauseGrade.NONE}, {"is_stage_correct": False},
     {"grade": CauseGrade.WRONG}, {"grade": CauseGrade.NONE}, {"visible": False}],
)  # fmt: skip
def test_one_missed_fault_in_float32_is_a_failure(missed: dict[str, Any]) -> None:
    assert not make_selfcheck(make_fault_row(), make_fault_row(**missed)).passes
    assert make_selfcheck(make_fault_row(), make_fault_row(dtype="bfloat16", **missed)).passes


def test_a_general_cause_is_true() -> None:
    assert make_selfcheck(make_fault_row(grade=CauseGrade.GENERAL)).passes


@pytest.mark.parametrize(
    ("grade", "confidence", "is_misleading"),
    [
        (CauseGrade.WRONG, 0.6, True),
        (CauseGrade.WRONG, 0.5, False),
        (CauseGrade.GENERAL, 0.7, False),
        (CauseGrade.NONE, None, False),
    ],
)
def test_a_confident_wrong_cause_misleads(
    grade: CauseGrade, confidence: float | None, is_misleading: bool
) -> None:
    assert make_fault_row(grade=grade, confidence=confidence).is_misleading is is_misleading


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "logits scaled"),
        ({"grade": CauseGrade.GENERAL}, "logits scaled (general)"),
        ({"grade": CauseGrade.WRONG, "cause": "x"}, "x (wrong, expected logits scaled)"),
        ({"grade": CauseGrade.NONE, "cause": ""}, "no cause (none, expected logits scaled)"),
    ],
)
def test_a_cause_is_reported_with_its_grade(changes: dict[str, Any], expected: str) -> None:
    assert make_fault_row(**changes).graded_cause == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"false_alarms": 1},
        {"clean_comparisons": 0},
        {"finished_engines": 0},
        {"problems": ("vllm did not load",)},
        {"faults": ()},
        {"faults": (make_fault_row(dtype="bfloat16"),)},
    ],
)
def test_other_failures(changes: dict[str, Any]) -> None:
    assert not make_selfcheck(**changes).passes


def test_records_of_environments_are_merged() -> None:
    merged = merge_selfchecks(
        [
            make_selfcheck(packages={"vllm": "1", "torch": "3"}),
            make_selfcheck(make_fault_row(backend="lmdeploy"), packages={"lmdeploy": "2", "torch": "4"}),
        ]
    )
    assert [row.backend for row in merged.faults] == ["vllm", "lmdeploy"]
    assert (merged.clean_comparisons, merged.expected_engines, merged.seconds) == (54, 2, 120)
    assert merged.packages == {"vllm": "1", "lmdeploy": "2", "torch": "3 and 4"}
    assert merged.passes


def test_one_failed_environment_fails_the_whole() -> None:
    assert not merge_selfchecks([make_selfcheck(), make_selfcheck(false_alarms=1)]).passes


def test_an_empty_check_does_not_pass() -> None:
    assert not merge_selfchecks([]).passes
