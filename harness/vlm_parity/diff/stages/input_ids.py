"""Are the ids that the model is fed the same, placeholders expanded?"""

from __future__ import annotations

from vlm_parity.diff.pair import TracePair, build_mismatch, build_not_compared
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff_input_ids(pair: TracePair) -> StageDiff:
    """Compares the two sequences exactly, or their lengths where one is all that is known."""
    if pair.tested.input_ids is None:
        return _count_tokens(pair)
    return diff_sequences(Stage.INPUT_IDS, pair, pair.reference.input_ids or (), pair.tested.input_ids or ())


def _count_tokens(pair: TracePair) -> StageDiff:
    """Another count is a difference; the same one does not make the ids the same."""
    ours, theirs = len(pair.reference.input_ids or ()), pair.tested.prompt_tokens
    side = pair.tested.backend
    if ours == theirs:
        reason = f"{side} says how many ids the prompt has, and not which: {theirs}, as in the reference"
        return build_not_compared(Stage.INPUT_IDS, reason)
    metrics: dict[str, float | int] = {"reference_length": ours, "tested_length": theirs or 0}
    message = f"input_ids differ: {ours} in the reference, {theirs} in {side}, which does not say which"
    return build_mismatch(Stage.INPUT_IDS, message, metrics)
