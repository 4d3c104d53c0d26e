"""Comparison of the logits along the reference's continuation, computed through the KV cache."""

from __future__ import annotations

from vlm_parity.diff.logits import diff_logits
from vlm_parity.diff.pair import TracePair, build_mismatch
from vlm_parity.diff.top_logprobs import diff_top_logprobs, has_top_logprobs
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff
from vlm_parity.util.sequences import find_first_difference


def diff_decode(pair: TracePair) -> StageDiff:
    """Compare one row for every forced token but the last.

    A server cannot be forced: it is compared as long as it generates the tokens of the reference.
    """
    reference, tested = pair.reference.continuation, pair.tested.continuation
    if has_top_logprobs(Stage.DECODE, pair):
        fork = find_first_difference(reference or (), tested or ())
        start = len(pair.reference.input_ids or ())
        return diff_top_logprobs(Stage.DECODE, pair, start, len(reference or ()) if fork is None else fork)
    if reference != tested:
        return build_mismatch(
            Stage.DECODE, f"{pair.tested.backend} decoded along different tokens: {tested}", {}
        )
    return diff_logits(
        Stage.DECODE, pair, len(pair.reference.input_ids or ()), len(pair.reference.continuation or ()) - 1
    )
