"""Numeric functions on arrays."""

from __future__ import annotations

import numpy as np


def compute_log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 log-probabilities along the last axis, of the same shape; NaN for a row without any."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # -inf - -inf
        normalized: np.ndarray = wide - (top + np.log(np.exp(wide - top).sum(axis=-1, keepdims=True)))
    return normalized
