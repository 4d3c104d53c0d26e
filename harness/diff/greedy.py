"""Are the free-running tokens the same at temperature 0?"""

from __future__ import annotations

from harness.diff.pair import Pair
from harness.diff.sequence import diff_sequences
from harness.trace import Stage
from harness.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares the new tokens exactly."""
    return diff_sequences(Stage.GREEDY, pair, pair.reference.greedy or (), pair.tested.greedy or ())
