"""Are the ids that the model is fed the same, placeholders expanded?"""

from __future__ import annotations

from harness.diff.pair import Pair
from harness.diff.sequence import diff_sequences
from harness.trace import Stage
from harness.verdict import StageDiff


def diff(pair: Pair) -> StageDiff:
    """Compares the two sequences exactly."""
    return diff_sequences(Stage.INPUT_IDS, pair, pair.reference.input_ids or (), pair.tested.input_ids or ())
