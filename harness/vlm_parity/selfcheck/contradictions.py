"""Contradictions within the record of a self-check: they are problems, and it does not pass."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.selfcheck.cause_grade import CauseGrade, grade_cause
from vlm_parity.selfcheck.record import ControlRow, FaultRow, SelfcheckRecord


def find_contradictions(check: SelfcheckRecord) -> Iterator[str]:
    """Yield the contradictions within the record of one environment."""
    for field, total in (
        ("clean_comparisons", sum(row.comparisons for row in check.controls)),
        ("false_alarms", sum(row.false_alarms for row in check.controls)),
    ):
        if getattr(check, field) != total:
            yield f"{field} is {getattr(check, field)}, but its controls have {total}"
    if check.finished_engines > check.expected_engines:
        yield f"{check.finished_engines} of {check.expected_engines} engines are finished"
    for fault in check.faults:
        yield from (f"the fault {fault.fault!r} on {fault.case!r} {text}" for text in _check_fault(fault))
    for control in check.controls:
        yield from (f"the control {control.control!r} {text}" for text in _check_control(control))


def _check_fault(row: FaultRow) -> Iterator[str]:
    if row.detected and row.stage is None:
        yield "was detected at no stage"
    if row.is_stage_correct != (row.detected and row.stage is row.expected_stage):
        yield f"is at {row.stage}, not {row.expected_stage}, which is_stage_correct contradicts"
    grade = grade_cause(row.cause, row.expected_cause, row.expected_stage, row.stage)
    if row.grade is not (grade if row.detected else CauseGrade.NONE):
        yield f"has the cause {row.cause!r}, which the grade {row.grade} contradicts"
    if bool(row.cause) != (row.confidence is not None):
        yield f"has the cause {row.cause!r} with the confidence {row.confidence}"


def _check_control(row: ControlRow) -> Iterator[str]:
    is_clean = row.largest_limit_ratio <= 1 and not row.messages
    if not row.false_alarms and not is_clean:
        yield f"has no false alarm, but the limit ratio {row.largest_limit_ratio} and messages {row.messages}"
