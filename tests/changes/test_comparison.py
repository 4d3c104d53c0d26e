"""The state of each kind of verdict, and the stages that have a result of their own."""

from __future__ import annotations

import math

import pytest

from tests.support.verdicts import FAILURES, make_failure, make_verdict
from vlm_parity.changes.comparison import State, get_size, get_state, is_failing, list_judged_stages
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LEADING_POSITIONS, DiffStatus, StageDiff, VerdictKind

VISION = {Stage.VISION: 50.0}


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_kind_has_a_state(kind: VerdictKind) -> None:
    agreeing = {VerdictKind.MATCH, VerdictKind.REFUSED, VerdictKind.FIXED}
    if kind in FAILURES:
        assert get_state(make_failure(kind)) is State.NOT_COMPARED
    elif kind in agreeing:
        assert get_state(make_verdict(kind=kind)) is State.AGREES
    else:
        assert get_state(make_verdict(VISION, kind=kind)) is State.DIFFERS


def test_a_verdict_fails_unless_it_passes_or_is_fixed() -> None:
    failing = {kind for kind in VerdictKind if is_failing(make_verdict(kind=kind))}
    assert failing == {*FAILURES, VerdictKind.MISMATCH} - {VerdictKind.UNSUPPORTED}


def test_judged_stages() -> None:
    assert list_judged_stages(make_verdict(VISION, not_compared=[Stage.PROMPT])) == tuple(Stage)[1:]
    partial = StageDiff(
        stage=Stage.PREFILL,
        status=DiffStatus.NOT_COMPARED,
        metrics={LEADING_POSITIONS: 3, "limit_ratio": 0.1},
    )
    stages = tuple(partial if diff.stage is Stage.PREFILL else diff for diff in make_verdict().stages)
    assert Stage.PREFILL not in list_judged_stages(make_verdict(stages=stages))


@pytest.mark.parametrize(("limit_ratio", "size"), [(0.5, 0.5), (math.nan, math.inf), (math.inf, math.inf)])
def test_a_size_that_is_no_number_is_infinite(limit_ratio: float, size: float) -> None:
    metrics = {"limit_ratio": limit_ratio}
    assert get_size(StageDiff(stage=Stage.VISION, status=DiffStatus.MISMATCH, metrics=metrics)) == size
    assert get_size(StageDiff(stage=Stage.PROMPT, status=DiffStatus.MISMATCH)) is None
