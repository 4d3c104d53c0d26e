"""Comparison of free-running tokens: ties of the reference, and the engine's own logits."""

from __future__ import annotations

import pytest

from tests.support.traces import ARRAYS, CONTINUATION, TraceFiles, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff

OTHER = 3
"""A token that the reference does not take."""


def compare_greedy(trace_files: TraceFiles, index: int, gap: float, own_gap: float) -> StageDiff:
    """Compare greedy tokens that differ at an index.

    Args:
        trace_files: where the traces go.
        index: of the first different token.
        gap: by how much the reference's token is ahead of the other in the reference's logits.
        own_gap: the same in the engine's own logits.
    """
    stage, row = (Stage.DECODE, index - 1) if index else (Stage.PREFILL, -1)
    sides = []
    for ahead in (gap, own_gap):
        arrays = {name: array.copy() for name, array in ARRAYS.items()}
        best = float(arrays[stage][row].max()) + 1
        arrays[stage][row][CONTINUATION[index]], arrays[stage][row][OTHER] = best, best - ahead
        sides.append(arrays)
    greedy = (*CONTINUATION[:index], OTHER, *CONTINUATION[index + 1 :])
    trace_files.write(trace_files.reference, make_trace("transformers"), sides[0])
    trace_files.write(trace_files.tested, make_trace(greedy=greedy), sides[1])
    return trace_files.decide_verdict().stage(Stage.GREEDY)


@pytest.mark.parametrize("index", [0, 1])
def test_a_tie_of_the_reference_is_no_difference(trace_files: TraceFiles, index: int) -> None:
    diff = compare_greedy(trace_files, index, gap=0, own_gap=0)
    assert (diff.status, diff.metrics["tokens_compared"]) == (DiffStatus.MATCH, index)


@pytest.mark.parametrize("index", [0, 1])
def test_a_token_behind_in_the_engines_own_logits_is_no_tie(trace_files: TraceFiles, index: int) -> None:
    diff = compare_greedy(trace_files, index, gap=0, own_gap=0.125)
    assert diff.status is DiffStatus.MISMATCH
    assert diff.metrics["own_lag"] == pytest.approx(0.125)
    assert "took a token that is 0.125 below the best of its own logits\n" in diff.message


def test_a_token_that_the_reference_excludes_is_a_difference(trace_files: TraceFiles) -> None:
    diff = compare_greedy(trace_files, 1, gap=1.0, own_gap=0)
    assert diff.status is DiffStatus.MISMATCH
    assert "own_lag" not in diff.metrics
