"""Steps in a value over many runs: the runs from which it stays larger or smaller than before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

_LEAST_RUNS = 2
"""Runs on either side of a step. What one run changed is a matter of ``parity compare``."""
_PENALTY = 2.0
"""In units of the deviation times the logarithm of the number of runs. With 2, steps are detected in less
than 2 % of series of pure noise with 14 to 60 runs (tests/changes/test_steps.py)."""
_LEAST_DEVIATION = 0.05
"""In octaves (3.5 %). Values that are equal bit for bit in most runs have no deviation of their own."""
_DEVIATION_PER_MEDIAN_DIFFERENCE = 1.4826 / math.sqrt(2)
"""Standard deviation of normal values by the median absolute difference of neighbors: the factor of the
median absolute deviation, and a difference of two values has twice their variance."""
_LARGEST = 1e12
"""Replaces infinity, so that a logarithm exists."""


@dataclass(frozen=True)
class Step:
    """A change of the level of a value."""

    index: int
    """The first value at the new level."""
    before: float
    """Median of the values of the level before it."""
    after: float
    """Median of the values from it to the next step."""

    @property
    def is_increase(self) -> bool:
        """True if the level rose."""
        return self.after > self.before


def detect_steps(values: Sequence[float], *, least: float, factor: float) -> tuple[Step, ...]:
    """Detect steps by PELT (Killick et al. 2012) on logarithms.

    The cost of a level is the sum of absolute distances from its median, so one run that stands out is no
    step.

    Args:
        values: one for each run, in order of time, not negative; infinity is allowed.
        least: smaller values count as equal to it, so changes below it are no steps.
        factor: levels that differ by less are no step, however certain it is.

    Returns:
        The steps in order; none for fewer values than two levels need.

    Raises:
        ValueError: a value is negative or not a number.
    """
    if any(not value >= 0 for value in values):
        raise ValueError("a value is negative or not a number")
    octaves = [math.log2(min(max(value, least), _LARGEST)) for value in values]
    if len(octaves) < 2 * _LEAST_RUNS or min(octaves) == max(octaves):
        return ()
    bounds = [0, *_find_bounds(octaves), len(octaves)]
    levels = [2.0 ** median(octaves[start:stop]) for start, stop in pairwise(bounds)]
    return tuple(_select_steps(bounds, levels, factor))


def _find_bounds(octaves: Sequence[float]) -> list[int]:
    """Return the indices at which a new level begins."""
    import numpy as np
    from ruptures import Pelt

    differences = [abs(after - before) for before, after in pairwise(octaves)]
    deviation = max(median(differences) * _DEVIATION_PER_MEDIAN_DIFFERENCE, _LEAST_DEVIATION)
    penalty = _PENALTY * math.log(len(octaves)) * deviation
    search = Pelt(model="l1", min_size=_LEAST_RUNS, jump=1).fit(np.asarray(octaves))
    return [int(bound) for bound in search.predict(pen=penalty)[:-1]]


def _select_steps(bounds: Sequence[int], levels: Sequence[float], factor: float) -> Iterator[Step]:
    for (before, after), index in zip(pairwise(levels), bounds[1:-1], strict=True):
        if max(before, after) >= factor * min(before, after):
            yield Step(index, before, after)
