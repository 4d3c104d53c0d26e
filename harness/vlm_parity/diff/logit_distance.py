"""Distances of two sets of logits, row by row, in one pass over both."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

Rows = Callable[[int, int], np.ndarray]
"""Reads rows [start, stop) of a float32 [rows, vocabulary] array."""

_CHUNK_ROWS = 16  # enough to keep two threads busy, few enough to stay small beside a model
_LANES = 2048
_EXP_IS_SAFE = 60.0  # exp(60) * 300,000 tokens is far from float32's largest number, 3e38 = exp(88)


@dataclass(frozen=True)
class LogitDistances:
    """Distances per row, all of log-softmax: logits are defined up to a constant."""

    max_abs: np.ndarray
    """float64 [rows]: the largest absolute difference; infinite if one side is NaN or excludes a token that
    the other allows."""
    rms: np.ndarray
    """float64 [rows]: the root mean square of the differences over the vocabulary; infinite if
    ``max_abs`` is."""
    kl: np.ndarray
    """float64 [rows]: Kullback-Leibler divergence of the tested distribution from the reference, in nats;
    infinite if ``max_abs`` is."""
    reference_top1: np.ndarray
    """int64 [rows]: the most likely token."""
    tested_top1: np.ndarray
    reference_finite: np.ndarray
    """bool [rows]: true if the reference is a distribution."""


def compute_logit_distances(reference: Rows, tested: Rows, rows: int, vocabulary: int) -> LogitDistances:
    """Compare ``rows`` rows of ``vocabulary`` raw logits on all cores."""
    result = np.empty((6, rows), dtype=np.float64)
    starts = range(0, rows, _CHUNK_ROWS)

    def work(start: int) -> None:
        stop = min(start + _CHUNK_ROWS, rows)
        weights, difference = _Scratch(vocabulary), _Scratch(vocabulary)
        pairs = zip(reference(start, stop), tested(start, stop), strict=True)
        with np.errstate(all="ignore"):  # non-finite values show in the result
            for row, pair in enumerate(pairs, start):
                result[:, row] = _compare_row(*pair, weights, difference)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, starts))
    maximum, rms, kl, reference_top1, tested_top1, finite = result
    return LogitDistances(
        maximum, rms, kl, reference_top1.astype(int), tested_top1.astype(int), finite.astype(bool)
    )


class _Scratch:
    """Working memory for one row, small enough for the CPU cache."""

    def __init__(self, vocabulary: int) -> None:
        self._lanes = np.zeros((-(-vocabulary // _LANES), _LANES), dtype=np.float32)
        self.row = self._lanes.reshape(-1)[:vocabulary]

    def sum(self) -> float:
        """Sum the row in lanes: twice as fast as NumPy along the row, and as accurate."""
        return float(np.add.reduce(np.add.reduce(self._lanes)))


def _compare_row(
    a: np.ndarray, b: np.ndarray, weights: _Scratch, difference: _Scratch
) -> tuple[float, float, float, int, int, bool]:
    """Compare one row.

    log-softmax(a) - log-softmax(b) = (a - b) - (logsumexp(a) - logsumexp(b)): in this form the large
    terms cancel before anything is rounded to float32.
    """
    top_b, _, lse_b = _exponentiate(b, weights)
    top_a, total, lse_a = _exponentiate(a, weights)
    finite = bool(np.isfinite(lse_a))
    moved = difference.row
    np.subtract(a, b, out=moved)
    np.subtract(moved, np.float32(lse_a - lse_b), out=moved)
    kl = float(np.dot(weights.row, moved)) / total
    if np.isnan(kl):
        moved[np.isneginf(a) & np.isneginf(b)] = 0  # both rule the token out: no difference
        kl = float(np.dot(weights.row, moved)) / total
    largest = max(float(moved.max()), -float(moved.min()))
    if not np.isfinite(largest):
        return np.inf, np.inf, np.inf, top_a, top_b, finite
    rms = float(np.sqrt(np.dot(moved, moved) / len(moved)))
    return largest, rms, max(kl, 0.0), top_a, top_b, finite


def _exponentiate(logits: np.ndarray, out: _Scratch) -> tuple[int, float, float]:
    """Fill ``out`` with exponentials, scaled down if they could overflow.

    Returns:
        The most likely token, the sum of ``out``, and the logarithm of the unscaled sum.
    """
    np.exp(logits, out=out.row)  # before the maximum is known: it hides the memory latency
    top = int(logits.argmax())
    scale = float(logits[top])
    if abs(scale) < _EXP_IS_SAFE:
        scale = 0.0
    else:
        np.subtract(logits, np.float32(scale), out=out.row)
        np.exp(out.row, out=out.row)
    total = out.sum()
    return top, total, scale + float(np.log(total))
