"""The grade of the cause that a diagnosis names for an injected fault."""

from __future__ import annotations

from enum import StrEnum

from vlm_parity.diagnosis.registry import list_general_causes
from vlm_parity.schema.trace import Stage

CONFIDENT = 0.5
"""A wrong cause with a higher confidence misleads whoever reads it."""
REQUIRED_SPECIFIC_SHARE = 0.7
"""The share of the detected faults whose specific cause should be named."""


class CauseGrade(StrEnum):
    """The agreement of the most confident diagnosis with the injected fault."""

    SPECIFIC = "specific"
    """The cause that names the fault."""
    GENERAL = "general"
    """A true cause that names the part of the engine, but not the fault in it."""
    WRONG = "wrong"
    """Any other cause."""
    NONE = "none"
    """No diagnosis."""


def grade_cause(cause: str, expected_cause: str, expected_stage: Stage, stage: Stage | None) -> CauseGrade:
    """Grade the most confident diagnosis of a detected fault.

    A general cause only names the part that differs, so it is true of every fault at its stage. It is
    accepted there, and wrong at any other stage.

    Args:
        cause: of the diagnosis; empty if there is none.
        expected_cause: the cause of the fault.
        expected_stage: the stage of the fault.
        stage: the stage that differs.
    """
    if not cause:
        return CauseGrade.NONE
    general = list_general_causes(expected_stage)
    if cause == expected_cause and cause not in general:
        return CauseGrade.SPECIFIC
    return CauseGrade.GENERAL if cause in general and stage is expected_stage else CauseGrade.WRONG
