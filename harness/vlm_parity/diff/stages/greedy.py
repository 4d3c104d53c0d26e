"""Are the free-running tokens the same?"""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.diff.pair import TracePair, build_match
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff
from vlm_parity.util.sequences import count_common_prefix


def diff_greedy(pair: TracePair) -> StageDiff:
    """Compares the tokens up to the first that both sides may choose.

    Where two tokens are so close that the noise floor decides between them, each side goes on along
    its own, and what follows has no counterpart.
    """
    found = diff_sequences(Stage.GREEDY, pair, pair.reference.greedy or (), pair.tested.greedy or ())
    if found.status is not DiffStatus.MISMATCH:
        return found
    fork = _is_tie(pair)
    if fork is None:
        return found
    index, apart, allowed = fork
    return build_match(
        Stage.GREEDY, {"tokens_compared": index, "tie_apart": apart, "tie_allowed": allowed}, found.evidence
    )


def _is_tie(pair: TracePair) -> tuple[int, float, float] | None:
    """Where the tokens part for the first time, if noise is enough to part them.

    Returns:
        The index, how far the reference's log-probabilities of the two tokens are apart there, and
        how far noise may move them: both of them, each by the limit of ``vlm_parity.diff.noise_tolerance``.
    """
    ours, theirs = pair.reference.greedy or (), pair.tested.greedy or ()
    index = count_common_prefix(ours, theirs)
    stage, row = (Stage.DECODE, index - 1) if index else (Stage.PREFILL, -1)
    noise, tensors = pair.noise(stage), pair.reference_tensors
    if index == min(len(ours), len(theirs)) or noise is None or tensors is None or stage not in tensors:
        return None
    if stage is Stage.DECODE and pair.reference.continuation != ours:
        return None
    rows = tensors.shape(stage)[0]
    logits = tensors.rows(stage, row % rows, row % rows + 1)[0]
    if not 0 <= theirs[index] < len(logits):
        return None
    apart = abs(float(logits[ours[index]] - logits[theirs[index]]))
    allowed = 2 * ROW_LIMIT * float(np.max(noise.largest[:, row % rows]))
    return (index, apart, allowed) if apart <= allowed else None
