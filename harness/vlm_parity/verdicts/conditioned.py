"""Comparison behind an earlier difference: the engine has run on the reference's own values up to there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlm_parity.diff.pair import build_not_compared
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.data_flow import GIVEN, find_inflows
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import StageDiff, Verdict, VerdictKind

_TOWERS = {Stage.POSITIONS, Stage.VISION}
"""The stages that only ``Condition.MEDIA`` leaves to the engine."""
_NOT_GIVEN = "an earlier stage differs on given values, too; what it hands on cannot be given"


def find_unjudged(verdict: Verdict) -> frozenset[Stage]:
    """Return the stages that an earlier difference keeps from being judged by the engine's own values."""
    outflows = {diff.stage: diff.outflow for diff in verdict.stages}
    return frozenset(stage for stage in find_inflows(outflows) if outflows[stage] is not False)


def _select_captured(verdict: Verdict, stages: Iterable[Stage]) -> frozenset[Stage]:
    """Return the stages that are captured at the depth of a verdict."""
    return frozenset(
        stage for stage in stages if verdict.depth is Depth.LOGITS or stage.depth is Depth.TOKENS
    )


def select_condition(verdict: Verdict, offered: Iterable[Condition]) -> Condition | None:
    """Return what the engine is to be given next; None if that would say nothing more.

    Args:
        verdict: on the passes until now, without known issues.
        offered: what the backend can give to its engine.
    """
    if verdict.kind is not VerdictKind.MISMATCH:
        return None
    if not (verdict.reference.outcome is verdict.tested.outcome is Outcome.CAPTURED):
        return None
    unjudged = _select_captured(verdict, find_unjudged(verdict))
    tried = {diff.conditioned.condition for diff in verdict.stages if diff.conditioned is not None}
    left = {diff.stage for diff in verdict.stages if diff.stage in unjudged and not diff.is_compared_on_given}
    for condition in Condition:
        may_judge = left - GIVEN[condition]
        if condition is Condition.MEDIA:
            may_judge &= _TOWERS
        if condition in offered and condition not in tried and may_judge:
            return condition
    return None


def add_pass(verdict: Verdict, condition: Condition, diffs: Sequence[StageDiff]) -> Verdict:
    """Add the comparison of a pass on given values to the stages that it can judge.

    Args:
        verdict: on the passes until now.
        condition: what was given.
        diffs: of every stage, in order.
    """
    unjudged = _select_captured(verdict, find_unjudged(verdict)) - GIVEN[condition]
    differs = {diff.stage: diff.stage not in GIVEN[condition] and diff.outflow for diff in diffs}
    inflows = find_inflows(differs)
    stages = []
    for own, diff in zip(verdict.stages, diffs, strict=True):
        if own.stage in unjudged and not own.is_compared_on_given:
            judged = build_not_compared(own.stage, _NOT_GIVEN) if own.stage in inflows else diff
            judged = judged.model_copy(update={"condition": condition})
            stages.append(own.model_copy(update={"conditioned": judged}))
        else:
            stages.append(own)
    return verdict.model_copy(update={"stages": tuple(stages)})
