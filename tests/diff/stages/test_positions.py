"""Positions: what the rotary embedding is given, exactly."""

from __future__ import annotations

import numpy as np

from tests.support.traces import ARRAYS, IDS, POSITIONS, TraceFiles, make_trace
from vlm_parity.schema.trace import DECODE_POSITIONS, Stage
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


DECODED = np.array([[12, 13]] * 3)


def diff_decoding(trace_files: TraceFiles, tested: np.ndarray) -> StageDiff:
    trace_files.write(
        trace_files.reference, make_trace("transformers"), {**ARRAYS, DECODE_POSITIONS: DECODED}
    )
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, DECODE_POSITIONS: tested})
    return trace_files.decide_verdict().stage(Stage.POSITIONS)


def test_decoding_goes_on_at_the_same_positions(trace_files: TraceFiles) -> None:
    found = diff_decoding(trace_files, DECODED)
    assert found.status is DiffStatus.MATCH
    assert (found.metrics["decode_positions"], found.metrics["decode_different"]) == (2, 0)


def test_decoding_that_goes_on_elsewhere_differs_and_is_explained(trace_files: TraceFiles) -> None:
    found = diff_decoding(trace_files, DECODED + 1)
    assert found.message == (
        "positions of the prompt are equal, those of 2 of 2 decoding steps differ: "
        "at step 0 (12, 12, 12) in the reference, (13, 13, 13) in vllm"
    )
    (diagnosis, *_) = trace_files.decide_verdict().get_diagnoses(Stage.POSITIONS)
    assert diagnosis.cause == "decoding positions differ"
    assert "position 13 in vllm and 12 in the reference; the largest position" in diagnosis.explanation


def test_decoding_along_other_ids_has_no_counterpart(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.reference, make_trace("transformers"), {**ARRAYS, DECODE_POSITIONS: DECODED}
    )
    other = make_trace(continuation=(8, 11, 13))
    trace_files.write(trace_files.tested, other, {**ARRAYS, DECODE_POSITIONS: DECODED + 1})
    found = trace_files.decide_verdict().stage(Stage.POSITIONS)
    assert "decode_positions" not in found.metrics


def test_another_number_of_positions(trace_files: TraceFiles) -> None:
    assert diff(trace_files, POSITIONS[:, 1:]).status is DiffStatus.MISMATCH
