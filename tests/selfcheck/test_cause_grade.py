"""The grade of a diagnosis of an injected fault."""

from __future__ import annotations

import pytest

from vlm_parity.diagnosis.registry import list_causes, list_general_causes, load_rules
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.cause_grade import CauseGrade, grade_cause

TOWER = "vision tower differs with equal pixels"


@pytest.mark.parametrize(
    ("cause", "expected_cause", "stage", "grade"),
    [
        ("vision features scaled", "vision features scaled", Stage.VISION, CauseGrade.SPECIFIC),
        (TOWER, TOWER, Stage.VISION, CauseGrade.GENERAL),
        (TOWER, "vision features scaled", Stage.VISION, CauseGrade.GENERAL),
        ("vision features scaled", TOWER, Stage.VISION, CauseGrade.WRONG),
        ("vision features reordered", "vision features scaled", Stage.VISION, CauseGrade.WRONG),
        ("pixels differ", "vision features scaled", Stage.MEDIA, CauseGrade.WRONG),
        ("differs by engine mode", "vision features scaled", Stage.PREFILL, CauseGrade.WRONG),
        ("", TOWER, Stage.VISION, CauseGrade.NONE),
    ],
)
def test_grades_of_a_fault_in_the_vision_tower(
    cause: str, expected_cause: str, stage: Stage, grade: CauseGrade
) -> None:
    assert grade_cause(cause, expected_cause, Stage.VISION, stage) is grade


def test_a_cause_is_either_general_or_specific() -> None:
    general = {rule.cause for rule in load_rules() if rule.is_general}
    specific = {rule.cause for rule in load_rules() if not rule.is_general}
    assert not general & specific
    assert general | specific == list_causes()


def test_general_causes_belong_to_a_stage() -> None:
    assert list_general_causes(Stage.DECODE) == {
        "decode differs with equal prefill",
        "differs by engine mode",
        "differs by entry point",
        "non-finite outputs",
    }
