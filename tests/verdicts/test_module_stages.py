"""Differences that are located, and the steps to compare for them."""

from __future__ import annotations

import numpy as np

from tests.support.traces import ARRAYS, CONTINUATION, DECODE, FEATURES, PREFILL, TraceFiles, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict
from vlm_parity.verdicts.module_stages import find_module_differences, select_continuation


def decide(trace_files: TraceFiles, **arrays: np.ndarray) -> Verdict:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, **arrays})
    return trace_files.decide_verdict()


def test_a_match_has_nothing_to_locate(trace_files: TraceFiles) -> None:
    assert find_module_differences(decide(trace_files)) == {}


def test_a_difference_of_the_tower_is_located_on_the_engine_s_own_values(trace_files: TraceFiles) -> None:
    (diffs,) = find_module_differences(decide(trace_files, vision=FEATURES + 1)).values()
    assert [diff.stage for diff in diffs] == [Stage.VISION]
    assert select_continuation(diffs, CONTINUATION) == CONTINUATION[:1]


def test_what_follows_from_an_earlier_difference_is_not_located(trace_files: TraceFiles) -> None:
    found = find_module_differences(decide(trace_files, vision=FEATURES + 1, prefill=PREFILL * 1.1))
    assert [diff.stage for diffs in found.values() for diff in diffs] == [Stage.VISION]


def test_a_difference_at_decode_is_followed_to_its_first_step(trace_files: TraceFiles) -> None:
    late = DECODE.copy()
    late[1] += RAMP
    (diffs,) = find_module_differences(decide(trace_files, decode=late)).values()
    assert [diff.stage for diff in diffs] == [Stage.DECODE]
    assert select_continuation(diffs, CONTINUATION) == CONTINUATION[:3]


def test_stages_without_modules_are_not_located(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(greedy=(1, 2, 3)), ARRAYS)
    assert find_module_differences(trace_files.decide_verdict()) == {}


RAMP = np.linspace(0, 5, DECODE.shape[1], dtype=np.float32)
