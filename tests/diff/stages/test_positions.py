"""Positions: what the rotary embedding is given, exactly."""

from __future__ import annotations

import numpy as np

from tests.support.traces import ARRAYS, IDS, POSITIONS, TraceFiles, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff


def diff(trace_files: TraceFiles, tested: np.ndarray) -> StageDiff:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "positions": tested})
    return trace_files.decide_verdict().stage(Stage.POSITIONS)


def test_text_after_an_image_that_starts_too_early(trace_files: TraceFiles) -> None:
    early = POSITIONS.copy()
    early[:, 7:] -= 2
    found = diff(trace_files, early)
    assert found.metrics == {
        "positions": len(IDS),
        "different": 5,
        "different_in_spans": 0,
        "first_different": 7,
    }
    assert found.message.splitlines()[:5] == [
        "positions differ at 5 of 12 ids, 0 of them inside the spans; first at index 7",
        "   index  token              reference (time, height, width)  vllm",
        "   5      <|image_pad|> (9)  5, 5, 5                          5, 5, 5",
        "   6      <|image_pad|> (9)  6, 6, 6                          6, 6, 6",
        ">  7      What (3)           7, 7, 7                          5, 5, 5",
    ]


def test_one_axis_inside_the_image(trace_files: TraceFiles) -> None:
    turned = POSITIONS.copy()
    turned[1, 4] += 1
    found = diff(trace_files, turned)
    assert (found.metrics["different"], found.metrics["different_in_spans"]) == (1, 1)


def test_text_positions_stand_for_all_three_axes(trace_files: TraceFiles) -> None:
    assert diff(trace_files, POSITIONS[:1]).status is DiffStatus.MATCH


def test_another_number_of_positions(trace_files: TraceFiles) -> None:
    assert diff(trace_files, POSITIONS[:, 1:]).status is DiffStatus.MISMATCH
