"""Are the full-vocabulary logits the same at every prompt position?"""

from __future__ import annotations

from harness.diff.logits import diff_logits
from harness.diff.pair import Pair
from harness.trace import Stage
from harness.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares one row for every prompt position."""
    return diff_logits(Stage.PREFILL, pair, 0, len(pair.reference.input_ids or ()))
