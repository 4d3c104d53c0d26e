"""How far two sets of logits are apart, row by row, in one pass over both."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

Rows = Callable[[int, int], np.ndarray]
"""Reads rows [start, stop) of a float32 [rows, vocabulary] array."""

_ROWS_AT_ONCE = 16  # enough to keep two threads busy, few enough to stay small beside a model
_EXP_IS_SAFE = 60.0  # exp(60) * 300,000 tokens is far from float32's largest number, 3e38 = exp(88)


@dataclass(frozen=True)
class Distances:
    """One entry a row; all of log-softmax, which takes out the constant that logits leave free."""

    max_abs: np.ndarray
    """float64 [rows]: the largest absolute difference; infinite where one side is not a number or
    rules a token out that the other allows."""
    mean_abs: np.ndarray
    """float64 [rows]: the mean absolute difference over the vocabulary."""
    kl: np.ndarray
    """float64 [rows]: Kullback-Leibler divergence of the tested distribution from the reference's,
    in nats."""
    reference_top1: np.ndarray
    """int64 [rows]: the most likely token."""
    tested_top1: np.ndarray
    reference_finite: np.ndarray
    """bool [rows]: whether the reference gives a distribution at all."""


def distances(reference: Rows, tested: Rows, rows: int, vocabulary: int) -> Distances:
    """Compares ``rows`` rows of ``vocabulary`` raw logits on all cores."""
    result = np.empty((6, rows), dtype=np.float64)
    starts = range(0, rows, _ROWS_AT_ONCE)

    def work(start: int) -> None:
        stop = min(start + _ROWS_AT_ONCE, rows)
        scratch = np.empty((2, vocabulary), dtype=np.float32)
        pairs = zip(reference(start, stop), tested(start, stop), strict=True)
        with np.errstate(all="ignore"):  # what is not finite is found by its result
            for row, pair in enumerate(pairs, start):
                result[:, row] = _row(*pair, *scratch)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, starts))
    maximum, mean, kl, reference_top1, tested_top1, finite = result
    return Distances(
        maximum, mean, kl, reference_top1.astype(int), tested_top1.astype(int), finite.astype(bool)
    )


def _row(
    a: np.ndarray, b: np.ndarray, weights: np.ndarray, difference: np.ndarray
) -> tuple[float, float, float, int, int, bool]:
    """Compares one row; ``weights`` and ``difference`` are scratch space of the same size.

    log-softmax(a) - log-softmax(b) = (a - b) - (logsumexp(a) - logsumexp(b)): written so, the
    large terms cancel before anything is rounded to float32.
    """
    top_a, top_b = int(a.argmax()), int(b.argmax())
    _, lse_b = _exponentials(b, float(b[top_b]), weights)
    total, lse_a = _exponentials(a, float(a[top_a]), weights)
    shift = lse_a - lse_b
    np.subtract(a, b, out=difference)
    if not np.isfinite(float(np.dot(difference, difference))):
        difference[a == b] = np.float32(shift)  # both rule the token out: no difference
    np.subtract(difference, np.float32(shift), out=difference)
    kl = float(np.dot(weights, difference)) / total
    np.abs(difference, out=difference)
    largest = float(difference.max())
    mean = float(difference.sum(dtype=np.float32)) / len(difference)
    if np.isnan(largest):
        return np.inf, np.inf, np.inf, top_a, top_b, bool(np.isfinite(lse_a))
    return largest, mean, max(kl, 0.0), top_a, top_b, bool(np.isfinite(lse_a))


def _exponentials(logits: np.ndarray, top: float, out: np.ndarray) -> tuple[float, float]:
    """Fills ``out`` with exponentials; returns their sum and the logarithm of the unscaled sum."""
    scale = 0.0 if abs(top) < _EXP_IS_SAFE else top
    if scale:
        np.subtract(logits, np.float32(scale), out=out)
        logits = out
    np.exp(logits, out=out)
    total = float(np.add.reduce(out))  # pairwise: a plain float32 sum would be off by 1e-6
    return total, scale + float(np.log(total))


def log_softmax(row: np.ndarray) -> np.ndarray:
    """float64 [vocabulary] log-probabilities of one row of raw logits."""
    wide = row.astype(np.float64)
    top = wide.max()
    shifted: np.ndarray = wide - (top + np.log(np.exp(wide - top).sum()))
    return shifted
