"""Comparison of the model's input ids, placeholders expanded."""

from __future__ import annotations

from vlm_parity.diff.pair import TracePair, build_mismatch, build_not_compared
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff_input_ids(pair: TracePair) -> StageDiff:
    """Compare the two sequences exactly, or their lengths if the tested ids are unknown."""
    if pair.tested.input_ids is None:
        return _count_tokens(pair)
    return diff_sequences(Stage.INPUT_IDS, pair, pair.reference.input_ids or (), pair.tested.input_ids or ())


def _count_tokens(pair: TracePair) -> StageDiff:
    """Compare the numbers of ids: a different number is a mismatch, but an equal one is not a match."""
    reference, tested = len(pair.reference.input_ids or ()), pair.tested.prompt_tokens
    backend = pair.tested.backend
    if reference == tested:
        reason = f"{backend} reports only the number of input ids: {tested}, as in the reference"
        return build_not_compared(Stage.INPUT_IDS, reason)
    metrics: dict[str, float | int] = {"reference_length": reference, "tested_length": tested or 0}
    message = (
        f"input_ids differ: {reference} in the reference, {tested} in {backend}, "
        "which reports only their number"
    )
    return build_mismatch(Stage.INPUT_IDS, message, metrics)
