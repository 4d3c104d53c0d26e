"""A reference that cannot be a measure, and greedy tokens that noise parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, CONTINUATION, FEATURES, FLOOR, IDS, PREFILL, OnDisk, trace
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Status, Verdict, VerdictKind


def with_reference(on_disk: OnDisk, **arrays: np.ndarray) -> Verdict:
    on_disk.write(on_disk.reference, trace("transformers"), {**ARRAYS, **arrays})
    return on_disk.judge()


def test_features_that_do_not_fit_the_spans(on_disk: OnDisk) -> None:
    verdict = with_reference(on_disk, vision=FEATURES[:-1])
    assert verdict.kind is VerdictKind.INVALID
    assert "its spans embed 4 positions, its vision tower gives 3 features" in verdict.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number(on_disk: OnDisk, bad: float) -> None:
    sick = PREFILL.copy()
    sick[3] = bad
    verdict = with_reference(on_disk, prefill=sick)
    assert verdict.kind is VerdictKind.INVALID
    assert "what it gives at prefill is not a number at 1 positions" in verdict.reason


def test_ids_outside_of_the_vocabulary(on_disk: OnDisk) -> None:
    for folder, name in ((on_disk.reference, "transformers"), (on_disk.tested, "vllm")):
        on_disk.write(folder, trace(name, input_ids=(*IDS[:-1], 99)), ARRAYS)
    assert "its input id 99 is outside the vocabulary of 32" in on_disk.judge().reason


def test_a_floor_that_could_not_be_measured(on_disk: OnDisk) -> None:
    on_disk.measured(NoiseFloor(FloorRecord(truth="float64", dtype="float32", problem="no memory"), {}))
    verdict = on_disk.judge()
    assert verdict.kind is VerdictKind.INVALID
    assert "its noise floor in float32 could not be measured: no memory" in verdict.reason


def greedy(on_disk: OnDisk, apart: float) -> Verdict:
    """The tested side takes another second token, that far behind in the reference's logits."""
    logits = ARRAYS["decode"].copy()
    logits[0, CONTINUATION[1]] = logits[0].max() + 1
    logits[0, 20] = logits[0, CONTINUATION[1]] - apart
    for folder, name, tokens in (
        (on_disk.reference, "transformers", CONTINUATION),
        (on_disk.tested, "vllm", (CONTINUATION[0], 20, 5)),
    ):
        on_disk.write(folder, trace(name, greedy=tokens), {**ARRAYS, "decode": logits})
    return on_disk.judge()


def test_a_tie_that_noise_decides_is_no_difference(on_disk: OnDisk) -> None:
    verdict = greedy(on_disk, 1e-6)
    diff = verdict.stage(Stage.GREEDY)
    assert (verdict.kind, diff.status) == (VerdictKind.MATCH, Status.MATCH)
    assert diff.metrics["tokens_compared"] == 1


def test_a_token_that_noise_cannot_choose_is_one(on_disk: OnDisk) -> None:
    allowed = 2 * 3.94 * FLOOR.stages[Stage.DECODE].largest.max()
    verdict = greedy(on_disk, 2 * allowed)
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.GREEDY)
