"""Are the full-vocabulary logits the same at every prompt position?"""

from __future__ import annotations

from vlm_parity.diff.logits import diff_logits
from vlm_parity.diff.pair import TracePair, build_not_compared
from vlm_parity.diff.top_logprobs import diff_top_logprobs, has_top_logprobs
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff_prefill(pair: TracePair) -> StageDiff:
    """Compares one row for every prompt position that the tested side ran."""
    length, cached = len(pair.reference.input_ids or ()), pair.tested.cached_tokens
    if has_top_logprobs(Stage.PREFILL, pair):
        return diff_top_logprobs(Stage.PREFILL, pair, 0, length)
    if not cached:
        return diff_logits(Stage.PREFILL, pair, 0, length)
    if cached == length:
        return build_not_compared(Stage.PREFILL, f"all {length} positions came from the prefix cache")
    found = diff_logits(Stage.PREFILL, pair.skip_rows(Stage.PREFILL, cached), cached, length - cached)
    where = f"{found.message}\nnot compared: the {cached} positions before them, from the prefix cache"
    return found.model_copy(
        update={
            "metrics": found.metrics | {"cached_tokens": cached},
            "message": where if found.message else "",
        }
    )
