"""Comparison of the logits at every prompt position, over the whole vocabulary."""

from __future__ import annotations

from vlm_parity.diff.logits import diff_logits
from vlm_parity.diff.pair import TracePair, build_not_compared
from vlm_parity.diff.stages.positions import count_equal_positions
from vlm_parity.diff.top_logprobs import diff_top_logprobs, has_top_logprobs
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import LEADING_POSITIONS, StageDiff
from vlm_parity.util.sequences import count_common_prefix


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


def diff_leading_rows(pair: TracePair, reason: str) -> StageDiff:
    """Compare the rows in front of the first difference of the ids, which do not depend on it.

    Equal rows leave the stage not compared: nothing is known about the others.

    Args:
        pair: two traces whose ids differ.
        reason: why the positions behind the difference are not compared.
    """
    count = count_leading_rows(pair)
    if not count:
        return build_not_compared(Stage.PREFILL, reason)
    diff = (
        diff_top_logprobs(Stage.PREFILL, pair, 0, count)
        if has_top_logprobs(Stage.PREFILL, pair)
        else diff_logits(Stage.PREFILL, pair.keep_rows(Stage.PREFILL, count), 0, count)
    )
    metrics = diff.metrics | {LEADING_POSITIONS: count}
    if diff.differs:
        message = f"{diff.message}\nnot compared: the positions from {count} on, since the ids differ"
        return diff.model_copy(update={"metrics": metrics, "message": message})
    if diff.differs is None:
        return build_not_compared(Stage.PREFILL, reason)
    message = f"{reason}; the {count} positions in front of the difference match"
    return build_not_compared(Stage.PREFILL, message).model_copy(update={"metrics": metrics})


def count_leading_rows(pair: TracePair) -> int:
    """Count the rows that are the same function of the same inputs on both sides.

    A row of a causal language model depends on the ids up to it, unless a medium comes first: features may
    differ, and some models attend to all positions of an image at once.
    """
    reference, tested = pair.reference, pair.tested
    if reference.spans is None or tested.cached_tokens:
        return 0
    equal = count_common_prefix(reference.input_ids or (), tested.input_ids or ())
    spans = (*reference.spans, *(tested.spans or ()))
    media = [min(span.positions, default=equal) for span in spans]
    return min([equal, count_equal_positions(pair), *media])
