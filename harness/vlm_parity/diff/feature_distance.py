"""Distance of the media's features, which are small enough to be compared as a whole."""

from __future__ import annotations

import numpy as np


def compute_feature_distances(reference: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the distances of features, row by row.

    Args:
        reference: float32 [embedded positions, hidden].
        tested: the same.

    Returns:
        float64 [embedded positions], twice: root mean square and largest absolute difference;
        infinite if a side is NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.nan_to_num(np.abs(tested.astype(np.float64) - reference), nan=np.inf)
        return np.sqrt(np.square(differences).mean(axis=1)), differences.max(axis=1, initial=0)
