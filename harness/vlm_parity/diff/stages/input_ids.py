"""Are the ids that the model is fed the same, placeholders expanded?"""

from __future__ import annotations

from vlm_parity.diff.pair import Pair, mismatch, not_compared
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares the two sequences exactly, or their lengths where one is all that is known."""
    if pair.tested.input_ids is None:
        return _counted(pair)
    return diff_sequences(Stage.INPUT_IDS, pair, pair.reference.input_ids or (), pair.tested.input_ids or ())


def _counted(pair: Pair) -> StageDiff:
    """Another count is a difference; the same one does not make the ids the same."""
    ours, theirs = len(pair.reference.input_ids or ()), pair.tested.prompt_tokens
    side = pair.tested.backend
    if ours == theirs:
        reason = f"{side} says how many ids the prompt has, and not which: {theirs}, as in the reference"
        return not_compared(Stage.INPUT_IDS, reason)
    metrics: dict[str, float | int] = {"reference_length": ours, "tested_length": theirs or 0}
    message = f"input_ids differ: {ours} in the reference, {theirs} in {side}, which does not say which"
    return mismatch(Stage.INPUT_IDS, message, metrics)
