"""The one rule that says whether numbers differ by more than transformers' own noise.

A clean engine is one more way to compute the same thing, so its distance from the truth is one more
draw from what the floor's samples show. Three ratios are looked at, and none excuses another:

- ``sequence``: root mean square over all rows, against that of all samples;
- ``position``: root mean square of one row, against that of the samples at this row;
- ``entry``: the largest difference in one row, against the largest of any sample at this row.

The limits come from what transformers' samples show among themselves, one attention against the
other. A row may be twice as far as the worst clean one. Over a sequence the worst shrinks with the
root of the number of rows, as the mean of so many draws does; what does not shrink is how often a way
to compute rounds, for which half as much noise power again is allowed. docs/noise.md has the
measurement, on every embedded case; ``benchmarks/noise.py`` makes it again. No engine's output went
into the limits, and they are the same for all models, dtypes, backends and stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vlm_parity.schema.noise_floor import StageNoise

WORST_CLEAN_SEQUENCE = 0.9
"""How far a clean ``sequence`` ratio lies above 1, times the root of the number of rows."""
WORST_CLEAN_ROW = 1.97
"""The largest clean ``position`` and ``entry`` ratio."""
EXTRA_ROUNDING_FACTOR = math.sqrt(1.5)

ROW_LIMIT = 2 * WORST_CLEAN_ROW


def compute_sequence_limit(rows: int) -> float:
    """The largest ``sequence`` ratio over so many rows that counts as noise."""
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
        """float64 [rows]: by how much each row uses up its limits; more than 1 is too much."""
        row_limit_ratios: np.ndarray = np.maximum(self.position, self.entry) / ROW_LIMIT
        return row_limit_ratios

    @property
    def limit_ratio(self) -> float:
        """The worst of all ratios over its limit: more than 1 is a mismatch."""
        return max(
            self.sequence / compute_sequence_limit(len(self.position)),
            float(self.row_limit_ratios.max(initial=0)),
        )

    @property
    def metrics(self) -> dict[str, float | int]:
        """The largest ratio of each kind, the margin, and how many rows are over a limit."""
        return {
            "limit_ratio": self.limit_ratio,
            "over_limit": int((self.row_limit_ratios > 1).sum()),
            **{f"{name}_ratio": value for name, value in self._largest.items()},
        }

    @property
    def worst(self) -> str:
        """The ratio that is furthest over its limit, in words."""
        found, limits = self._largest, self.limits
        name = max(found, key=lambda name: found[name] / limits[name])
        return f"{_RATIO_LABELS[name]} is {found[name]:.3g} times the noise floor (limit {limits[name]:.3g})"

    @property
    def limits(self) -> dict[str, float]:
        """What each ratio may be."""
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
    """Sets distances from the truth against the noise.

    Args:
        rms: float64 [rows], the tested side's root mean square distance from the truth.
        largest: float64 [rows], its largest absolute difference.
        noise: the samples' distances, [samples, rows].
        smallest: noise below this is taken for this: where every sample gives the truth to the last
            bit, the rounding of the stored truth itself is left.
    """
    with np.errstate(over="ignore"):
        at_row = np.sqrt(np.square(noise.rms).mean(axis=0))
        overall = max(compute_rms(noise.rms), smallest)
        largest_at_row = noise.largest.max(axis=0)
        # A few samples may agree at a row by luck, so no row's floor lies below that of all rows.
        floor = np.maximum(at_row, overall)
        ceiling = np.maximum(largest_at_row, max(compute_rms(largest_at_row), smallest))
        return NoiseRatios(compute_rms(rms) / overall, rms / floor, largest / ceiling, floor)


def compute_rms(values: np.ndarray) -> float:
    """Over all values; 0 where there are none."""
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0
