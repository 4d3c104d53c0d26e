"""The state of each kind of verdict, and the stages that have a result of their own."""

from __future__ import annotations

import math

import pytest

from tests.support.verdicts import FAILURES, make_failure, make_verdict
from vlm_parity.changes.comparison import Comparison, State, get_size, get_sizes
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LEADING_POSITIONS, DiffStatus, StageDiff, StageResult, VerdictKind

VISION = {Stage.VISION: 50.0}


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_kind_has_a_state(kind: VerdictKind) -> None:
    agreeing = {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.FIXED}
    if kind in FAILURES:
        assert Comparison.of(make_failure(kind)).state is State.NOT_COMPARED
    elif kind in agreeing:
        assert Comparison.of(make_verdict(kind=kind)).state is State.AGREES
    else:
        assert Comparison.of(make_verdict(VISION, kind=kind)).state is State.DIFFERS


def test_a_verdict_fails_unless_it_passes_or_is_fixed() -> None:
    failing = {kind for kind in VerdictKind if Comparison.of(make_verdict(kind=kind)).is_failing}
    assert failing == {*FAILURES, VerdictKind.MISMATCH, VerdictKind.UNSTABLE} - {VerdictKind.UNSUPPORTED}


def test_judged_stages() -> None:
    assert Comparison.of(make_verdict(VISION, not_compared=[Stage.PROMPT])).judged_stages == tuple(Stage)[1:]
    partial = StageDiff(
        stage=Stage.PREFILL,
        status=DiffStatus.NOT_COMPARED,
        metrics={LEADING_POSITIONS: 3, "limit_ratio": 0.1},
    )
    stages = tuple(partial if diff.stage is Stage.PREFILL else diff for diff in make_verdict().stages)
    assert Stage.PREFILL not in Comparison.of(make_verdict(stages=stages)).judged_stages


@pytest.mark.parametrize(("limit_ratio", "size"), [(0.5, 0.5), (math.nan, math.inf), (math.inf, math.inf)])
def test_a_size_that_is_no_number_is_infinite(limit_ratio: float, size: float) -> None:
    metrics = {"limit_ratio": limit_ratio}
    assert get_size(StageDiff(stage=Stage.VISION, status=DiffStatus.MISMATCH, metrics=metrics)) == size
    assert get_size(StageDiff(stage=Stage.PROMPT, status=DiffStatus.MISMATCH)) is None


def test_sizes_and_margins() -> None:
    comparison = Comparison.of(make_verdict(VISION, margins={Stage.PREFILL: 0.4}))
    assert get_sizes(comparison.stages) == {Stage.VISION: 50.0, Stage.PREFILL: 0.4, Stage.DECODE: 0.01}
    assert comparison.margins == {Stage.PREFILL: 0.4, Stage.DECODE: 0.01}


def test_a_comparison_keeps_no_evidence_of_a_stage() -> None:
    for result in Comparison.of(make_verdict(VISION)).stages:
        assert type(result) is StageResult
