"""Vision: the media's features as they are merged into the sequence."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest

from tests.support.traces import ARRAYS, NOISE, TraceFiles, make_trace
from vlm_parity.diff.noise_tolerance import ROW_LIMIT, compute_sequence_limit
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, VerdictKind

FEATURES = ARRAYS["vision"]
SCALE = float(np.sqrt(np.mean(FEATURES.astype(np.float64) ** 2)))

RMS = SCALE / 2 / np.sqrt(FEATURES.size)
"""That of one entry moved by half of the features' own."""


def diff(trace_files: TraceFiles, tested: np.ndarray) -> StageDiff:
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "vision": tested})
    return trace_files.decide_verdict().stage(Stage.VISION)


def test_one_position_of_the_image_as_a_user_sees_it(trace_files: TraceFiles) -> None:
    other = FEATURES.copy()
    other[2, 0] += np.float32(0.5 * SCALE)
    assert diff(trace_files, other).message == dedent(f"""\
        vision features differ at 1 of 4 embedded positions
        the root mean square over all positions is {RMS / NOISE:.3g} times the noise floor \
(limit {compute_sequence_limit(4):.3g}); the floor is transformers' own float32 against its float64, 2 runs
        rms {RMS:.3g}, max abs {SCALE / 2:.3g}; \
the features of the reference have an rms of {SCALE:.3g}
           medium   positions over  largest, of the rms
        >  image 0  1 of 4          {0.5 / np.sqrt(8):.3g}""")


@pytest.mark.parametrize(("times", "status"), [(0.5, DiffStatus.MATCH), (2, DiffStatus.MISMATCH)])
def test_one_feature_against_the_noise(trace_files: TraceFiles, times: float, status: DiffStatus) -> None:
    other = FEATURES.copy()
    other[0, 1] += np.float32(times * ROW_LIMIT * 3 * NOISE)
    assert diff(trace_files, other).status is status


def test_other_shapes(trace_files: TraceFiles) -> None:
    assert diff(trace_files, FEATURES[:, :-1]).status is DiffStatus.MISMATCH


def test_a_reference_that_is_not_a_number_is_not_trusted(trace_files: TraceFiles) -> None:
    sick = FEATURES.copy()
    sick[1] = np.nan
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "vision": sick})
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.INVALID
    assert "vision is not finite at 1 positions" in verdict.reason
