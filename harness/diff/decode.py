"""Are the logits along the reference's continuation the same, through the KV cache?"""

from __future__ import annotations

from harness.diff.logits import diff_logits
from harness.diff.pair import Pair, mismatch
from harness.trace import Stage
from harness.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares one row for every forced token but the last."""
    reference, tested = pair.reference.continuation, pair.tested.continuation
    if reference != tested:
        return mismatch(Stage.DECODE, f"{pair.tested.backend} was forced along other tokens: {tested}", {})
    return diff_logits(
        Stage.DECODE, pair, len(pair.reference.input_ids or ()), len(pair.reference.continuation or ()) - 1
    )
