"""Comparison of the free-running tokens."""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.diff.pair import TracePair, build_match
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff
from vlm_parity.util.sequences import count_common_prefix


def diff_greedy(pair: TracePair) -> StageDiff:
    """Compare the tokens up to the first tie.

    If two tokens are closer than the noise floor, either is correct, and the tokens after them cannot be
    compared.
    """
    diff = diff_sequences(Stage.GREEDY, pair, pair.reference.greedy or (), pair.tested.greedy or ())
    if diff.status is not DiffStatus.MISMATCH:
        return diff
    tie = _find_tie(pair)
    if tie is None:
        return diff
    index, distance, allowed = tie
    return build_match(
        Stage.GREEDY, {"tokens_compared": index, "tie_apart": distance, "tie_allowed": allowed}, diff.evidence
    )


def _find_tie(pair: TracePair) -> tuple[int, float, float] | None:
    """Find the first different token, if noise explains the difference.

    Returns:
        The index, the difference of the reference's log-probabilities of the two tokens, and the difference
        that noise explains: twice the limit of ``vlm_parity.diff.noise_tolerance``, once for each token.
    """
    reference, tested = pair.reference.greedy or (), pair.tested.greedy or ()
    index = count_common_prefix(reference, tested)
    stage, row = (Stage.DECODE, index - 1) if index else (Stage.PREFILL, -1)
    noise, tensors = pair.noise(stage), pair.reference_tensors
    is_prefix = index == min(len(reference), len(tested))
    if is_prefix or noise is None or tensors is None or stage not in tensors:
        return None
    if stage is Stage.DECODE and pair.reference.continuation != reference:
        return None
    rows = tensors.shape(stage)[0]
    logits = tensors.rows(stage, row % rows, row % rows + 1)[0]
    if not 0 <= tested[index] < len(logits):
        return None
    distance = abs(float(logits[reference[index]] - logits[tested[index]]))
    allowed = 2 * ROW_LIMIT * float(np.max(noise.largest[:, row % rows]))
    return (index, distance, allowed) if distance <= allowed else None
