"""Verdicts by what explains them: the new before the known, the frequent before the rare."""

from __future__ import annotations

import io
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from vlm_parity.report.causes import NO_CAUSE, format_confidence, group_by_cause
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.report.summary import build_report_json
from vlm_parity.report.terminal import print_summary
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

if TYPE_CHECKING:
    from tests.report.conftest import RunBuilder


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "certain, 100 %"),
        (0.999, "almost certain, 99 %"),
        (0.9, "almost certain, 90 %"),
        (0.6, "likely, 60 %"),
        (0.59, "possible, 59 %"),
        (0.29, "faint, 29 %"),
        (0, "faint, 0 %"),
    ],
)
def test_confidence_in_words_and_percent(value: Any, words: Any) -> None:
    assert format_confidence(value) == words


@pytest.fixture
def run(builder: RunBuilder, records: ModuleType) -> Any:
    def apart(
        number: Any, stage: Any, cause: Any = "", kind: Any = VerdictKind.MISMATCH, **changes: Any
    ) -> Any:
        diff = StageDiff(stage=stage, status=DiffStatus.MISMATCH, message="differs")
        found = (
            [{"stage": stage, "cause": cause, "explanation": "Because.", "confidence": 0.7}] if cause else []
        )
        return records.verdict(kind, diff, case=f"case_{number}", diagnoses=found, **changes)

    known = {"kind": VerdictKind.KNOWN, "known": "gelu: Another activation."}
    builder.shard(
        *(apart(n, Stage.VISION, "another activation", **known) for n in range(4)),
        apart(4, Stage.PREFILL, **known),
        apart(5, Stage.PROMPT),
        *(apart(n, Stage.INPUT_IDS, "pad [red] token", model=f"model_{n}") for n in (6, 7)),
        apart(8, Stage.INPUT_IDS, "pad [red] token", model="model_7"),
        records.verdict(case="equal"),
    )
    return load_run(builder.folder)


def test_causes_come_new_first_then_frequent_first(run: LoadedRun) -> None:
    found = [
        (cause.cause, cause.stage, len(cause.verdicts), cause.known) for cause in group_by_cause(run.verdicts)
    ]
    assert found == [
        ("pad [red] token", Stage.INPUT_IDS, 3, 0),
        (NO_CAUSE, Stage.PROMPT, 1, 0),
        ("another activation", Stage.VISION, 4, 4),
        ("gelu: Another activation.", Stage.PREFILL, 1, 1),
    ]


def test_terminal_groups_differences_by_cause(run: LoadedRun) -> None:
    output = io.StringIO()
    print_summary(run, Console(width=120, file=output))
    text = output.getvalue()
    assert "3 at input_ids: pad [red] token\n    model_6 in vllm: case_6" in text
    assert "\n    model_7 in vllm: case_7, case_8" in text
    assert "4 at vision, known: another activation\n" in text


def test_the_document_has_the_diagnoses(run: LoadedRun) -> None:
    found = {verdict["case"]: verdict["diagnoses"] for verdict in build_report_json(run)["verdicts"]}
    assert found["case_6"] == [
        {"stage": "input_ids", "cause": "pad [red] token", "explanation": "Because.", "confidence": 0.7}
    ]
    assert found["case_5"] == found["equal"] == []
