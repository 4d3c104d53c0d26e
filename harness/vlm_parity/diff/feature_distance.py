"""Distances of rows that are small enough to be compared as a whole."""

from __future__ import annotations

import numpy as np


def select_feature_rows(reference: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far features are apart, row by row.

    Args:
        reference: float32 [embedded positions, hidden].
        tested: the same.

    Returns:
        float64 [embedded positions], twice: root mean square and largest absolute difference;
        infinite where one side is not a number.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.nan_to_num(np.abs(tested.astype(np.float64) - reference), nan=np.inf)
        return np.sqrt(np.square(apart).mean(axis=1)), apart.max(axis=1, initial=0)
