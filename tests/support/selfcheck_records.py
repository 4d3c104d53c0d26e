"""Records of the self-check for tests."""

from __future__ import annotations

from typing import Any

from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.cause_grade import CauseGrade
from vlm_parity.selfcheck.record import ControlRow, FaultRow, SelfcheckRecord


def make_fault_row(**changes: Any) -> FaultRow:
    """Return the row of a fault that was detected correctly, apart from ``changes``."""
    values = {
        "fault": "attention scale off",
        "backend": "vllm",
        "model": "qwen2_vl",
        "case": "one_image",
        "dtype": "float32",
        "visible": True,
        "detected": True,
        "is_stage_correct": True,
        "grade": CauseGrade.SPECIFIC,
        "limit_ratio": 12.5,
        "expected_stage": Stage.PREFILL,
        "stage": Stage.PREFILL,
        "expected_cause": "logits scaled",
        "cause": "logits scaled",
        "confidence": 1.0,
        "message": "prefill log-probabilities differ",
    }
    return FaultRow.model_validate(values | changes)


def make_control_row(**changes: Any) -> ControlRow:
    """Return the row of a control without a false alarm, apart from ``changes``."""
    values = {
        "control": "repeated",
        "backend": "vllm",
        "model": "qwen2_vl",
        "dtype": "float32",
        "comparisons": 27,
        "false_alarms": 0,
        "largest_limit_ratio": 0.7,
    }
    return ControlRow.model_validate(values | changes)


def make_selfcheck(*faults: FaultRow, **changes: Any) -> SelfcheckRecord:
    """Return the record of a complete self-check that passes, apart from ``changes``."""
    values = {
        "faults": faults or (make_fault_row(),),
        "controls": (make_control_row(),),
        "clean_comparisons": 27,
        "false_alarms": 0,
        "expected_engines": 1,
        "finished_engines": 1,
        "seconds": 60.0,
    }
    return SelfcheckRecord.model_validate(values | changes)
