"""Division of engine loads into shares of about the same time."""

from __future__ import annotations

from collections.abc import Mapping

LoadName = tuple[str, str]
"""The names of a model and of an engine."""


def estimate_seconds(
    comparisons: Mapping[LoadName, int], recorded: Mapping[LoadName, float]
) -> dict[LoadName, float]:
    """Return the expected seconds of each engine load.

    Args:
        comparisons: the number of comparisons of each load.
        recorded: seconds of loads in an earlier run. One that it lacks is expected to take as long for each
            comparison as the others on average.
    """
    known = comparisons.keys() & recorded.keys()
    total = sum(comparisons[load] for load in known)
    average = sum(recorded[load] for load in known) / total if total else 1.0
    return {load: recorded.get(load, count * average) for load, count in comparisons.items()}


def assign_shares(seconds: Mapping[LoadName, float], count: int) -> dict[LoadName, int]:
    """Return the number of the share of each load, from 1: the longest first, each to the shortest share.

    The result depends on nothing but the arguments, so every session computes the same. No share is longer
    than the average by more than the longest load.

    Args:
        seconds: of each load.
        count: of shares.
    """
    totals = [0.0] * count
    shares = {}
    for load in sorted(seconds, key=lambda name: (-seconds[name], name)):
        index = totals.index(min(totals))
        totals[index] += seconds[load]
        shares[load] = index + 1
    return shares
