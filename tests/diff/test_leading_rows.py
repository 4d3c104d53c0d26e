"""Rows of the prompt in front of the first difference of the ids: compared, although the others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    IDS,
    POSITIONS,
    PREFILL,
    RANDOM,
    VOCABULARY_SIZE,
    TraceFiles,
    make_trace,
)
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.verdict import LEADING_POSITIONS, DiffStatus, LogitEvidence, StageDiff, Verdict

TEXT: dict[str, Any] = {"spans": (), "media": (), "encoder_budget": None}
INSERTED = 7
"""The index of the id that the tested side has in addition."""
LONGER = (*IDS[:INSERTED], 11, *IDS[INSERTED:])


def decide(trace_files: TraceFiles, tested: dict[str, Any], **arrays: np.ndarray) -> Verdict:
    """Return the verdict on a text of which the tested side has one id more, with other rows behind it."""
    text = {name: array for name, array in ARRAYS.items() if name in {"positions", "prefill", "decode"}}
    rows = RANDOM.normal(0, 3, (len(LONGER), VOCABULARY_SIZE)).astype(np.float32)
    rows[:INSERTED] = PREFILL[:INSERTED]
    positions = np.arange(len(LONGER))[np.newaxis].repeat(3, axis=0)
    trace_files.write(trace_files.reference, make_trace("transformers", **TEXT), text)
    trace_files.write(
        trace_files.tested,
        make_trace(**{"input_ids": LONGER, **TEXT, **tested}),
        {**text, "positions": positions, "prefill": rows, **arrays},
    )
    return trace_files.decide_verdict()


def prefill(trace_files: TraceFiles, **arrays: np.ndarray) -> StageDiff:
    return decide(trace_files, {}, **arrays).stage(Stage.PREFILL)


def test_equal_rows_in_front_do_not_make_the_stage_match(trace_files: TraceFiles) -> None:
    found = prefill(trace_files)
    assert found.status is DiffStatus.NOT_COMPARED
    assert found.message.endswith("no counterpart; the 7 positions in front of the difference match")
    assert (found.metrics[LEADING_POSITIONS], found.metrics["positions"]) == (INSERTED, INSERTED)
    assert found.evidence is None


def move_row(row: int) -> np.ndarray:
    rows = np.concatenate([PREFILL, PREFILL[-1:]])
    rows[row, rows[row].argmax()] += 1
    return rows


def test_a_row_in_front_that_differs_is_a_difference_of_its_own(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, {}, prefill=move_row(2))
    found = verdict.stage(Stage.PREFILL)
    assert found.status is DiffStatus.MISMATCH
    assert found.metrics["worst_position"] == 2
    assert found.message.endswith("not compared: the positions from 7 on, since the ids differ")
    assert isinstance(found.evidence, LogitEvidence)
    assert len(found.evidence.rms) == INSERTED
    assert [diff.stage for diff in verdict.differences] == [Stage.INPUT_IDS, Stage.PREFILL]
    explained = {each.cause: each.explanation for each in verdict.get_diagnoses(Stage.PREFILL)}
    language_model = explained["language model differs with equal features"]
    assert language_model.startswith("the ids up to there match, but the logits differ from position 2 on")
    assert not list(find_contradictions(verdict))


def test_the_rows_of_the_difference_and_behind_it_are_not_compared(trace_files: TraceFiles) -> None:
    assert prefill(trace_files, prefill=move_row(INSERTED)).status is DiffStatus.NOT_COMPARED


def test_ids_that_differ_from_the_first_one_on_leave_no_row(trace_files: TraceFiles) -> None:
    found = decide(trace_files, {"input_ids": (12, *LONGER[1:])}).stage(Stage.PREFILL)
    assert found.message == "the ids differ, so the positions have no counterpart"
    assert not found.metrics


@pytest.mark.parametrize("side", ["reference", "tested"])
def test_a_medium_ends_the_rows(trace_files: TraceFiles, side: str) -> None:
    spans = (Span.of("image", 0, range(4, 6)),)
    tested = make_trace(input_ids=LONGER, spans=spans if side == "tested" else ())
    reference = make_trace("transformers", spans=spans if side == "reference" else ())
    trace_files.write(trace_files.reference, reference)
    trace_files.write(trace_files.tested, tested, {**ARRAYS, "prefill": move_row(11), "positions": POSITIONS})
    assert trace_files.decide_verdict().stage(Stage.PREFILL).metrics[LEADING_POSITIONS] == 4


def test_a_different_position_ends_the_rows(trace_files: TraceFiles) -> None:
    positions = np.arange(len(LONGER))[np.newaxis].repeat(3, axis=0)
    positions[1, 5] += 1
    assert prefill(trace_files, positions=positions).metrics[LEADING_POSITIONS] == 5


def test_positions_from_a_prefix_cache_leave_no_row(trace_files: TraceFiles) -> None:
    found = decide(trace_files, {"cached_tokens": 2}, prefill=move_row(3)[2:], positions=POSITIONS[:, 1:])
    assert not found.stage(Stage.PREFILL).metrics
