"""A reference that cannot be a measure, and greedy tokens that noise parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, CONTINUATION, FEATURES, FLOOR, IDS, PREFILL, TraceFiles, make_trace
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, StageNoise
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind


def with_reference(trace_files: TraceFiles, **arrays: np.ndarray) -> Verdict:
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, **arrays})
    return trace_files.decide_verdict()


def test_features_that_do_not_fit_the_spans(trace_files: TraceFiles) -> None:
    verdict = with_reference(trace_files, vision=FEATURES[:-1])
    assert verdict.kind is VerdictKind.INVALID
    assert "its spans embed 4 positions, but its vision tower returns 3 features" in verdict.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number(trace_files: TraceFiles, bad: float) -> None:
    sick = PREFILL.copy()
    sick[3] = bad
    verdict = with_reference(trace_files, prefill=sick)
    assert verdict.kind is VerdictKind.INVALID
    assert "its prefill is not finite at 1 positions" in verdict.reason


def test_ids_outside_of_the_vocabulary(trace_files: TraceFiles) -> None:
    for folder, name in ((trace_files.reference, "transformers"), (trace_files.tested, "vllm")):
        trace_files.write(folder, make_trace(name, input_ids=(*IDS[:-1], 99)), ARRAYS)
    assert "its input id 99 is outside the vocabulary of 32" in trace_files.decide_verdict().reason


def test_a_floor_that_could_not_be_measured(trace_files: TraceFiles) -> None:
    trace_files.measured(NoiseFloor(FloorRecord(truth="float64", dtype="float32", problem="no memory"), {}))
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.INVALID
    assert "its noise floor in float32 could not be measured: no memory" in verdict.reason


def test_text_needs_no_noise_of_the_vision_tower(trace_files: TraceFiles) -> None:
    text = {
        "spans": (),
        "media": (),
        "encoder_budget": None,
    }
    arrays = {name: array for name, array in ARRAYS.items() if not name.startswith("media")}
    for folder, name in ((trace_files.reference, "transformers"), (trace_files.tested, "vllm")):
        trace_files.write(folder, make_trace(name, **text), {**arrays, "vision": FEATURES[:0]})
    stages: dict[Stage, StageNoise] = {s: noise for s, noise in FLOOR.stages.items() if s != Stage.VISION}
    record = FLOOR.record.model_copy(update={"stages": tuple(stages)})
    trace_files.measured(NoiseFloor(record, stages))
    assert trace_files.decide_verdict().kind is VerdictKind.MATCH


def greedy(trace_files: TraceFiles, apart: float) -> Verdict:
    """Choose another second token on the tested side, at a distance in the reference's logits."""
    logits = ARRAYS["decode"].copy()
    logits[0, CONTINUATION[1]] = logits[0].max() + 1
    logits[0, 20] = logits[0, CONTINUATION[1]] - apart
    own = logits.copy()
    own[0, 20] += min(apart, 2e-6)  # the engine's own best, unless noise cannot be the reason
    for folder, name, tokens, rows in (
        (trace_files.reference, "transformers", CONTINUATION, logits),
        (trace_files.tested, "vllm", (CONTINUATION[0], 20, 5), own),
    ):
        trace_files.write(folder, make_trace(name, greedy=tokens), {**ARRAYS, "decode": rows})
    return trace_files.decide_verdict()


def test_a_tie_that_noise_decides_is_no_difference(trace_files: TraceFiles) -> None:
    verdict = greedy(trace_files, 1e-6)
    diff = verdict.stage(Stage.GREEDY)
    assert (verdict.kind, diff.status) == (VerdictKind.MATCH, DiffStatus.MATCH)
    assert diff.metrics["tokens_compared"] == 1


def test_a_token_that_noise_cannot_choose_is_one(trace_files: TraceFiles) -> None:
    allowed = 2 * 3.94 * FLOOR.stages[Stage.DECODE].largest.max()
    verdict = greedy(trace_files, 2 * allowed)
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.GREEDY)
