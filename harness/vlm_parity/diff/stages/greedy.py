"""Comparison of the free-running tokens."""

from __future__ import annotations

import numpy as np

from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.diff.pair import TracePair, build_match
from vlm_parity.diff.sequence import diff_sequences
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import DiffStatus, StageDiff
from vlm_parity.util.sequences import count_common_prefix

OWN_LAG = "own_lag"
"""Metric: by how much the logit of the first different token is below the largest of the engine's own row."""


def diff_greedy(pair: TracePair) -> StageDiff:
    """Compare the tokens up to the first tie.

    If two tokens are closer than the noise floor, either is correct, and the tokens after them cannot be
    compared. But the token has to be the most likely one by the engine's own logits: noise does not excuse
    a sampler that takes another.
    """
    diff = diff_sequences(Stage.GREEDY, pair, pair.reference.greedy or (), pair.tested.greedy or ())
    if diff.status is not DiffStatus.MISMATCH:
        return diff
    lag = _measure_own_lag(pair)
    if lag is not None and lag > 0:
        own = f"{pair.tested.backend} took a token that is {lag:.3g} below the best of its own logits"
        head, _, rest = diff.message.partition("\n")
        metrics = {**diff.metrics, OWN_LAG: lag}
        return diff.model_copy(update={"message": f"{head}; {own}\n{rest}", "metrics": metrics})
    tie = _find_tie(pair)
    if tie is None:
        return diff
    index, distance, allowed = tie
    return build_match(
        Stage.GREEDY, {"tokens_compared": index, "tie_apart": distance, "tie_allowed": allowed}, diff.evidence
    )


def _measure_own_lag(pair: TracePair) -> float | None:
    """Return how far the first different token is below the largest logit of the engine's own row.

    The row was computed along the reference's continuation, hence after the same tokens. None if it was not
    captured.
    """
    greedy, tensors = pair.tested.greedy or (), pair.tested_tensors
    index = count_common_prefix(pair.reference.greedy or (), greedy)
    logits = None if tensors is None or index == len(greedy) else _read_row(pair, tensors, index)
    if logits is None or not 0 <= greedy[index] < len(logits):
        return None
    return float(logits.max() - logits[greedy[index]])


def _read_row(pair: TracePair, tensors: ArrayFile, index: int) -> np.ndarray | None:
    """Read the logits of a free-running token, float32 [vocabulary]; None if they were not captured."""
    stage, row = _locate_row(index)
    greedy, forced = pair.reference.greedy or (), pair.reference.continuation or ()
    if stage not in tensors or greedy[:index] != forced[:index]:
        return None
    rows = tensors.shape(stage)[0]
    return tensors.rows(stage, row % rows, row % rows + 1)[0] if row < rows else None


def _find_tie(pair: TracePair) -> tuple[int, float, float] | None:
    """Find the first different token, if noise explains the difference.

    Returns:
        The index, the difference of the reference's log-probabilities of the two tokens, and the difference
        that noise explains: twice the limit of ``vlm_parity.diff.noise_tolerance``, once for each token.
    """
    reference, tested = pair.reference.greedy or (), pair.tested.greedy or ()
    index = count_common_prefix(reference, tested)
    stage, row = _locate_row(index)
    noise, tensors = pair.noise(stage), pair.reference_tensors
    if index == min(len(reference), len(tested)) or noise is None or tensors is None:
        return None
    logits = _read_row(pair, tensors, index)
    if logits is None or not 0 <= tested[index] < len(logits):
        return None
    distance = abs(float(logits[reference[index]] - logits[tested[index]]))
    allowed = 2 * ROW_LIMIT * float(np.max(noise.largest[:, row]))
    return (index, distance, allowed) if distance <= allowed else None


def _locate_row(index: int) -> tuple[Stage, int]:
    """Return the stage and the row whose logits decide a free-running token."""
    return (Stage.DECODE, index - 1) if index else (Stage.PREFILL, -1)
