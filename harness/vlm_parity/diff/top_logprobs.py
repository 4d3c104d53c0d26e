"""Compares the log-probabilities that a server lists: of a few tokens, at some positions.

What is listed is part of what the engine computed, so the limit of the noise floor for the largest
difference in a row holds. What a root mean square over the vocabulary would show is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_parity.diff.logits import LOGIT_ROUNDING
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios
from vlm_parity.diff.pair import (
    TracePair,
    build_match,
    build_mismatch,
    build_not_compared,
    format_table,
)
from vlm_parity.schema.noise_floor import StageNoise
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import StageDiff
from vlm_parity.util.numeric import compute_log_softmax
from vlm_parity.util.text import escape_invisible

_LINES = 8  # tokens shown of the worst row, the likeliest first


@dataclass(frozen=True)
class _SharedRows:
    """The listed rows of both sides, float64 [rows, tokens]; NaN where nothing is listed."""

    numbers: np.ndarray
    """int64 [rows]: which rows of the stage they are."""
    ids: np.ndarray
    reference: np.ndarray
    tested: np.ndarray

    @property
    def apart(self) -> np.ndarray:
        """float64 [rows]: the largest difference; infinite where something listed is not a number."""
        apart = np.where(self.ids < 0, 0.0, np.abs(self.tested - self.reference))
        found: np.ndarray = np.nan_to_num(apart, nan=np.inf).max(axis=1, initial=0)
        return found


def has_top_logprobs(stage: Stage, pair: TracePair) -> bool:
    """Whether the tested side lists tokens in place of the stage's logits."""
    tensors = pair.tested_tensors
    return tensors is not None and f"{stage}.ids" in tensors


def diff_top_logprobs(stage: Stage, pair: TracePair, first_position: int, alike: int) -> StageDiff:
    """Compares what is listed in the rows before ``alike``.

    Args:
        stage: ``prefill`` or ``decode``.
        pair: the two traces.
        first_position: the position of the stage's first row in the sequence.
        alike: from which row on the two sides follow different tokens.
    """
    noise = pair.noise(stage)
    assert pair.reference_tensors is not None and pair.tested_tensors is not None
    assert pair.floor is not None and noise is not None, "compare() looks for it"
    rows = _read_rows(stage, pair.reference_tensors, pair.tested_tensors, alike)
    if not len(rows.numbers):
        return build_not_compared(stage, "no listed position has the same tokens before it on both sides")
    found = _compare_to_noise(rows, noise)
    row_limit_ratios = found.row_limit_ratios[rows.numbers]
    worst = int(row_limit_ratios.argmax())
    metrics: dict[str, float | int] = {
        "positions": len(rows.numbers),
        "top_logprobs": int((rows.ids >= 0).sum()),
        "limit_ratio": float(row_limit_ratios[worst]),
        "over_limit": int((row_limit_ratios > 1).sum()),
        "entry_ratio": float(found.entry[rows.numbers].max()),
        "max_abs": float(rows.apart.max()),
        "worst_position": first_position + int(rows.numbers[worst]),
        "reference_not_finite": int((~np.isfinite(rows.reference) & (rows.ids >= 0)).any(axis=1).sum()),
    }
    total = pair.reference_tensors.shape(stage)[0]
    part = (
        f"compared: the {metrics['top_logprobs']} log-probabilities that {pair.tested.backend}'s server lists, at "
        f"{len(rows.numbers)} of {total} positions"
    )
    if metrics["limit_ratio"] <= 1:
        return build_match(stage, metrics).model_copy(update={"message": part})
    head = (
        f"listed log-probabilities differ at {metrics['over_limit']} of {len(rows.numbers)} positions\n"
        f"{found.worst}; the floor is {pair.floor.source}\n"
        f"worst at position {metrics['worst_position']}; max abs {metrics['max_abs']:.3g}; {part}\n"
    )
    lines = list(_lines(pair, rows, worst))
    return build_mismatch(
        stage, head + format_table(("", "token", "reference", pair.tested.backend), lines), metrics
    )


def _read_rows(stage: Stage, reference: ArrayFile, tested: ArrayFile, alike: int) -> _SharedRows:
    numbers = tested.read(f"{stage}.rows")
    kept = numbers < min(alike, reference.shape(stage)[0])
    numbers, ids = numbers[kept], tested.read(f"{stage}.ids")[kept]
    theirs = tested.read(f"{stage}.logprobs")[kept].astype(np.float64)
    ours = np.full(ids.shape, np.nan)
    for place, number in enumerate(numbers):
        row = compute_log_softmax(reference.rows(stage, number, number + 1)[0])
        inside = (ids[place] >= 0) & (ids[place] < len(row))
        ours[place, inside] = row[ids[place, inside]]
    return _SharedRows(numbers, ids, ours, theirs)


def _compare_to_noise(rows: _SharedRows, noise: StageNoise) -> NoiseRatios:
    """The ratios of all rows of the stage: those that nothing is listed for take no part."""
    largest = np.zeros(noise.largest.shape[1])
    largest[rows.numbers] = rows.apart
    size = float(np.nanmax(np.abs(rows.reference), initial=1.0))
    return compute_noise_ratios(np.zeros_like(largest), largest, noise, size * LOGIT_ROUNDING)


def _lines(pair: TracePair, rows: _SharedRows, worst: int) -> list[tuple[str, ...]]:
    listed = np.flatnonzero(rows.ids[worst] >= 0)
    best = listed[np.argsort(-rows.tested[worst, listed], kind="stable")][:_LINES]
    return [
        (
            "",
            f"{escape_invisible(pair.token(int(rows.ids[worst, place])))} ({rows.ids[worst, place]})",
            f"{rows.reference[worst, place]:.6f}",
            f"{rows.tested[worst, place]:.6f}",
        )
        for place in best
    ]
