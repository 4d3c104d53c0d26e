"""Distance of two arrays of the same shape, value by value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ArrayDiff:
    """Differences of two arrays."""

    values: int
    """Number of values."""
    different: int
    """Number of values that are not equal."""
    over_bound: int
    """Number of values that differ by more than the bound."""
    max_abs: float
    """The largest absolute difference."""
    first: int | None
    """The first row with a value over the bound; None if there is none."""
    not_finite: int
    """Number of rows of the reference with a NaN or infinity."""


def compare_arrays(reference: np.ndarray, tested: np.ndarray, bound: np.ndarray | float) -> ArrayDiff:
    """Compare two arrays; a NaN on one side only is an infinite difference.

    Args:
        reference: [rows, ...]
        tested: of the same shape.
        bound: the largest difference allowed, for all or for each value.
    """
    same = (reference == tested) | (np.isnan(reference) & np.isnan(tested))
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.subtract(reference, tested, dtype=np.float64))
    distance = np.where(same, 0.0, np.nan_to_num(distance, nan=np.inf, posinf=np.inf))
    over = ~same & ~(distance <= bound)
    rows = over.reshape(len(over), -1).any(axis=1)
    return ArrayDiff(
        values=reference.size,
        different=int((~same).sum()),
        over_bound=int(over.sum()),
        max_abs=float(distance.max(initial=0.0)),
        first=int(rows.argmax()) if rows.any() else None,
        not_finite=int((~np.isfinite(reference)).reshape(len(over), -1).any(axis=1).sum()),
    )


def round_to_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round float32 values to ``dtype`` and back: to the nearest, halves to even."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32)
        up = (bits >> 16 & 1) + np.uint32(0x7FFF)
        near = ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)
        return np.where(np.isfinite(values), near, values)
    return values
