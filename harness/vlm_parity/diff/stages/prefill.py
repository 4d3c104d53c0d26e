"""Comparison of the logits at every prompt position, over the whole vocabulary."""

from __future__ import annotations

from vlm_parity.diff.logits import diff_logits
from vlm_parity.diff.pair import TracePair, build_not_compared
from vlm_parity.diff.top_logprobs import diff_top_logprobs, has_top_logprobs
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff_prefill(pair: TracePair) -> StageDiff:
    """Compare one row for every prompt position that the tested side computed."""
    length, cached = len(pair.reference.input_ids or ()), pair.tested.cached_tokens
    if has_top_logprobs(Stage.PREFILL, pair):
        return diff_top_logprobs(Stage.PREFILL, pair, 0, length)
    if not cached:
        return diff_logits(Stage.PREFILL, pair, 0, length)
    if cached == length:
        return build_not_compared(Stage.PREFILL, f"all {length} positions came from the prefix cache")
    diff = diff_logits(Stage.PREFILL, pair.skip_rows(Stage.PREFILL, cached), cached, length - cached)
    message = f"{diff.message}\nnot compared: the first {cached} positions, from the prefix cache"
    return diff.model_copy(
        update={
            "metrics": diff.metrics | {"cached_tokens": cached},
            "message": message if diff.message else "",
        }
    )
