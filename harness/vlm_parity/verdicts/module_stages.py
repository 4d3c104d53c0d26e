"""Differences that modules of the model can explain: the conditions and steps to record them under."""

from __future__ import annotations

from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LogitEvidence, StageDiff, Verdict

MODULE_STAGES = frozenset({Stage.VISION, Stage.PREFILL, Stage.DECODE})


def find_module_differences(verdict: Verdict) -> dict[Condition | None, tuple[StageDiff, ...]]:
    """Return the independent differences at stages that modules compute.

    Returns:
        The differences by the values that the engine was given; None stands for its own.
    """
    found: dict[Condition | None, tuple[StageDiff, ...]] = {}
    if verdict.depth is Depth.LOGITS:
        for diff in verdict.differences:
            if diff.stage in MODULE_STAGES:
                found[diff.condition] = (*found.get(diff.condition, ()), diff)
    return found


def select_continuation(diffs: tuple[StageDiff, ...], continuation: tuple[int, ...]) -> tuple[int, ...]:
    """Return the start of a continuation up to the first decoding step that differs.

    Args:
        diffs: the differences to explain.
        continuation: along which the decode logits were computed.
    """
    steps = max((_count_decoding_steps(diff, len(continuation)) for diff in diffs), default=0)
    return continuation[: steps + 1]


def _count_decoding_steps(diff: StageDiff, most: int) -> int:
    if diff.stage is not Stage.DECODE:
        return 0
    ratios = diff.evidence.row_limit_ratios if isinstance(diff.evidence, LogitEvidence) else ()
    return next((row + 1 for row, ratio in enumerate(ratios) if not ratio <= 1), most)
