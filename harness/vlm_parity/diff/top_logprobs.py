"""Comparison of the log-probabilities that a server returns: of a few tokens, at some positions.

They are a part of the engine's logits, so the noise floor's limit on the largest difference in a row applies.
A root mean square over the vocabulary cannot be computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_parity.diff.logits import LOGIT_ROUNDING
from vlm_parity.diff.noise_tolerance import NoiseRatios, compute_noise_ratios
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, build_not_compared, format_table
from vlm_parity.schema.noise_floor import StageNoise
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import StageDiff
from vlm_parity.util.numeric import compute_log_softmax
from vlm_parity.util.text import escape_invisible

_LINES = 8  # tokens shown of the worst row, the likeliest first


@dataclass(frozen=True)
class _SharedRows:
    """The listed log-probabilities of both sides, float64 [rows, tokens]; padded with NaN."""

    numbers: np.ndarray
    """int64 [rows]: indices of the rows of the stage."""
    ids: np.ndarray
    reference: np.ndarray
    tested: np.ndarray

    def compute_differences(self) -> np.ndarray:
        """Compute the largest difference of each row, float64 [rows]; infinite if a listed value is NaN."""
        differences = np.where(self.ids < 0, 0.0, np.abs(self.tested - self.reference))
        largest: np.ndarray = np.nan_to_num(differences, nan=np.inf).max(axis=1, initial=0)
        return largest


def has_top_logprobs(stage: Stage, pair: TracePair) -> bool:
    """Return whether the tested side has log-probabilities of a few tokens in place of logits."""
    tensors = pair.tested_tensors
    return tensors is not None and f"{stage}.ids" in tensors


def diff_top_logprobs(stage: Stage, pair: TracePair, first_position: int, stop: int) -> StageDiff:
    """Compare the listed log-probabilities in the rows before ``stop``.

    Args:
        stage: ``prefill`` or ``decode``.
        pair: the two traces.
        first_position: the position of the stage's first row in the sequence.
        stop: the first row at which the two sides follow different tokens.
    """
    noise = pair.noise(stage)
    assert pair.reference_tensors is not None
    assert pair.tested_tensors is not None
    assert pair.floor is not None, "compare_stages checks it"
    assert noise is not None, "compare_stages checks it"
    rows = _read_rows(stage, pair.reference_tensors, pair.tested_tensors, stop)
    if not len(rows.numbers):
        return build_not_compared(stage, "no listed position has the same tokens before it on both sides")
    ratios = _compare_to_noise(rows, noise)
    row_limit_ratios = ratios.row_limit_ratios[rows.numbers]
    worst = int(row_limit_ratios.argmax())
    metrics: dict[str, float | int] = {
        "positions": len(rows.numbers),
        "top_logprobs": int((rows.ids >= 0).sum()),
        "limit_ratio": float(row_limit_ratios[worst]),
        "over_limit": int((row_limit_ratios > 1).sum()),
        "entry_ratio": float(ratios.entry[rows.numbers].max()),
        "max_abs": float(rows.compute_differences().max()),
        "worst_position": first_position + int(rows.numbers[worst]),
        "reference_not_finite": int((~np.isfinite(rows.reference) & (rows.ids >= 0)).any(axis=1).sum()),
    }
    total = pair.reference_tensors.shape(stage)[0]
    scope = (
        f"compared: the {metrics['top_logprobs']} log-probabilities that the {pair.tested.backend} server "
        f"returns, at {len(rows.numbers)} of {total} positions"
    )
    if metrics["limit_ratio"] <= 1:
        return build_match(stage, metrics).model_copy(update={"message": scope})
    head = (
        f"listed log-probabilities differ at {metrics['over_limit']} of {len(rows.numbers)} positions\n"
        f"{ratios.worst}; the floor is {pair.floor.source}\n"
        f"worst at position {metrics['worst_position']}; max abs {metrics['max_abs']:.3g}; {scope}\n"
    )
    lines = list(_lines(pair, rows, worst))
    return build_mismatch(
        stage, head + format_table(("", "token", "reference", pair.tested.backend), lines), metrics
    )


def _read_rows(stage: Stage, reference: ArrayFile, tested: ArrayFile, stop: int) -> _SharedRows:
    numbers = tested.read(f"{stage}.rows")
    kept = numbers < min(stop, reference.shape(stage)[0])
    numbers, ids = numbers[kept], tested.read(f"{stage}.ids")[kept]
    tested_logprobs = tested.read(f"{stage}.logprobs")[kept].astype(np.float64)
    reference_logprobs = np.full(ids.shape, np.nan)
    for index, number in enumerate(numbers):
        row = compute_log_softmax(reference.rows(stage, number, number + 1)[0])
        inside = (ids[index] >= 0) & (ids[index] < len(row))
        reference_logprobs[index, inside] = row[ids[index, inside]]
    return _SharedRows(numbers, ids, reference_logprobs, tested_logprobs)


def _compare_to_noise(rows: _SharedRows, noise: StageNoise) -> NoiseRatios:
    """Compute the ratios of all rows of the stage; those without listed tokens are 0."""
    largest = np.zeros(noise.largest.shape[1])
    largest[rows.numbers] = rows.compute_differences()
    size = float(np.nanmax(np.abs(rows.reference), initial=1.0))
    return compute_noise_ratios(np.zeros_like(largest), largest, noise, size * LOGIT_ROUNDING)


def _lines(pair: TracePair, rows: _SharedRows, worst: int) -> list[tuple[str, ...]]:
    listed = np.flatnonzero(rows.ids[worst] >= 0)
    best = listed[np.argsort(-rows.tested[worst, listed], kind="stable")][:_LINES]
    return [
        (
            "",
            f"{escape_invisible(pair.token(int(rows.ids[worst, column])))} ({rows.ids[worst, column]})",
            f"{rows.reference[worst, column]:.6f}",
            f"{rows.tested[worst, column]:.6f}",
        )
        for column in best
    ]
