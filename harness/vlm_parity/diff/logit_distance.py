"""How far two sets of logits are apart, row by row, in one pass over both."""

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
    """One entry a row; all of log-softmax, which takes out the constant that logits leave free."""

    max_abs: np.ndarray
    """float64 [rows]: the largest absolute difference; infinite where one side is not a number or
    rules a token out that the other allows."""
    rms: np.ndarray
    """float64 [rows]: the root mean square of the differences over the vocabulary; infinite where
    ``max_abs`` is."""
    kl: np.ndarray
    """float64 [rows]: Kullback-Leibler divergence of the tested distribution from the reference's,
    in nats; infinite where ``max_abs`` is."""
    reference_top1: np.ndarray
    """int64 [rows]: the most likely token."""
    tested_top1: np.ndarray
    reference_finite: np.ndarray
    """bool [rows]: whether the reference gives a distribution at all."""


def compute_logit_distances(reference: Rows, tested: Rows, rows: int, vocabulary: int) -> LogitDistances:
    """Compares ``rows`` rows of ``vocabulary`` raw logits on all cores."""
    result = np.empty((6, rows), dtype=np.float64)
    starts = range(0, rows, _CHUNK_ROWS)

    def work(start: int) -> None:
        stop = min(start + _CHUNK_ROWS, rows)
        weights, difference = _Scratch(vocabulary), _Scratch(vocabulary)
        pairs = zip(reference(start, stop), tested(start, stop), strict=True)
        with np.errstate(all="ignore"):  # what is not finite is found by its result
            for row, pair in enumerate(pairs, start):
                result[:, row] = _row(*pair, weights, difference)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, starts))
    maximum, rms, kl, reference_top1, tested_top1, finite = result
    return LogitDistances(
        maximum, rms, kl, reference_top1.astype(int), tested_top1.astype(int), finite.astype(bool)
    )


class _Scratch:
    """Working space for one row: small enough to stay in a processor's cache."""

    def __init__(self, vocabulary: int) -> None:
        self._lanes = np.zeros((-(-vocabulary // _LANES), _LANES), dtype=np.float32)
        self.row = self._lanes.reshape(-1)[:vocabulary]

    def sum(self) -> float:
        """The sum of the row, added up in lanes: twice as fast as numpy along the row, as accurate."""
        return float(np.add.reduce(np.add.reduce(self._lanes)))


def _row(
    a: np.ndarray, b: np.ndarray, weights: _Scratch, difference: _Scratch
) -> tuple[float, float, float, int, int, bool]:
    """Compares one row.

    log-softmax(a) - log-softmax(b) = (a - b) - (logsumexp(a) - logsumexp(b)): written so, the
    large terms cancel before anything is rounded to float32.
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
    """Fills ``out`` with exponentials, scaled down where they could overflow.

    Returns:
        The most likely token, the sum of ``out``, and the logarithm of the unscaled sum.
    """
    np.exp(logits, out=out.row)  # before the maximum is known: this step hides the wait for memory
    top = int(logits.argmax())
    scale = float(logits[top])
    if abs(scale) < _EXP_IS_SAFE:
        scale = 0.0
    else:
        np.subtract(logits, np.float32(scale), out=out.row)
        np.exp(out.row, out=out.row)
    total = out.sum()
    return top, total, scale + float(np.log(total))
