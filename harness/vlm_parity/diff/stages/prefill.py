"""Are the full-vocabulary logits the same at every prompt position?"""

from __future__ import annotations

from vlm_parity.diff.logits import diff_logits
from vlm_parity.diff.pair import Pair, not_compared
from vlm_parity.diff.top_logprobs import diff_listed, is_listed
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares one row for every prompt position that the tested side ran."""
    length, cached = len(pair.reference.input_ids or ()), pair.tested.cached
    if is_listed(Stage.PREFILL, pair):
        return diff_listed(Stage.PREFILL, pair, 0, length)
    if not cached:
        return diff_logits(Stage.PREFILL, pair, 0, length)
    if cached == length:
        return not_compared(Stage.PREFILL, f"all {length} positions came from the prefix cache")
    found = diff_logits(Stage.PREFILL, pair.behind(Stage.PREFILL, cached), cached, length - cached)
    where = f"{found.message}\nnot compared: the {cached} positions before them, from the prefix cache"
    return found.model_copy(
        update={"metrics": found.metrics | {"cached": cached}, "message": where if found.message else ""}
    )
