"""Limits on numerical differences, derived from the noise of transformers itself.

A correct engine is one more way to compute the same function, so its distance from the truth is one more
draw from the distribution of the noise floor's samples. Each of three ratios has a limit:

- ``sequence``: root mean square over all rows, against that of all samples;
- ``position``: root mean square of one row, against that of the samples at this row;
- ``entry``: the largest difference in one row, against the largest of any sample at this row.

The limits come from comparing the samples of transformers with each other, one attention implementation
against the other. A row may be twice as far from the truth as the worst clean one. Over a sequence the worst
ratio shrinks with the square root of the number of rows, like the mean of that many draws; the number of
roundings of an implementation does not shrink, so half as much noise power again is allowed.
docs/explanations/noise_floor.md has the measurement on every embedded case, and ``benchmarks/noise.py``
repeats it. No output of an engine went into the limits, and they are the same for all models, dtypes,
backends and stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vlm_parity.schema.noise_floor import StageNoise

WORST_CLEAN_SEQUENCE = 0.9
"""The largest excess of a clean ``sequence`` ratio over 1, times the square root of the number of rows."""
WORST_CLEAN_ROW = 1.97
"""The largest clean ``position`` and ``entry`` ratio."""
EXTRA_ROUNDING_FACTOR = math.sqrt(1.5)

ROW_LIMIT = 2 * WORST_CLEAN_ROW


def compute_sequence_limit(rows: int) -> float:
    """Compute the largest ``sequence`` ratio over a number of rows that counts as noise."""
    return EXTRA_ROUNDING_FACTOR * (1 + WORST_CLEAN_SEQUENCE / math.sqrt(max(rows, 1)))


@dataclass(frozen=True)
class NoiseRatios:
    """Distances from the truth as multiples of the noise."""

    sequence: float
    position: np.ndarray
    """float64 [rows]"""
    entry: np.ndarray
    """float64 [rows]"""
    noise: np.ndarray
    """float64 [rows]: the root mean square that ``position`` is a multiple of."""

    @property
    def row_limit_ratios(self) -> np.ndarray:
        """float64 [rows]: the larger ratio of each row as a fraction of its limit; more than 1 is a
        mismatch.
        """
        row_limit_ratios: np.ndarray = np.maximum(self.position, self.entry) / ROW_LIMIT
        return row_limit_ratios

    @property
    def limit_ratio(self) -> float:
        """The worst ratio as a fraction of its limit; more than 1 is a mismatch."""
        sequence = self.sequence / compute_sequence_limit(len(self.position))
        return float(np.maximum(sequence, self.row_limit_ratios.max(initial=0)))  # NaN prevails

    @property
    def metrics(self) -> dict[str, float | int]:
        """The largest ratio of each kind, ``limit_ratio``, and the number of rows over a limit."""
        return {
            "limit_ratio": self.limit_ratio,
            "over_limit": int((self.row_limit_ratios > 1).sum()),
            **{f"{name}_ratio": value for name, value in self._largest.items()},
        }

    @property
    def worst(self) -> str:
        """Description of the ratio furthest over its limit."""
        ratios, limits = self._largest, self.limits
        name = max(ratios, key=lambda name: ratios[name] / limits[name])
        return f"{_RATIO_LABELS[name]} is {ratios[name]:.3g} times the noise floor (limit {limits[name]:.3g})"

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each ratio."""
        return {
            "sequence": compute_sequence_limit(len(self.position)),
            "position": ROW_LIMIT,
            "entry": ROW_LIMIT,
        }

    @property
    def _largest(self) -> dict[str, float]:
        return {
            "sequence": self.sequence,
            "position": float(self.position.max(initial=0)),
            "entry": float(self.entry.max(initial=0)),
        }


_RATIO_LABELS = {
    "sequence": "the root mean square over all positions",
    "position": "the root mean square at one position",
    "entry": "the largest difference at one position",
}


def compute_noise_ratios(
    rms: np.ndarray, largest: np.ndarray, noise: StageNoise, smallest: float
) -> NoiseRatios:
    """Divide distances from the truth by the noise.

    Args:
        rms: float64 [rows], root mean square distance of the tested side from the truth.
        largest: float64 [rows], its largest absolute difference from the truth.
        noise: distances of the samples, [samples, rows].
        smallest: a lower bound of the noise: if every sample equals the truth to the last bit, the rounding
            of the stored truth remains.
    """
    with np.errstate(over="ignore"):
        at_row = np.sqrt(np.square(noise.rms).mean(axis=0))
        overall = max(compute_rms(noise.rms), smallest)
        largest_at_row = noise.largest.max(axis=0)
        # A few samples may agree at a row by chance, so no row's floor is lower than that of all rows.
        floor = np.maximum(at_row, overall)
        ceiling = np.maximum(largest_at_row, max(compute_rms(largest_at_row), smallest))
        return NoiseRatios(compute_rms(rms) / overall, rms / floor, largest / ceiling, floor)


def compute_rms(values: np.ndarray) -> float:
    """Compute the root mean square over all values; 0 if there are none."""
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0
