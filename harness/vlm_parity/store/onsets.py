"""Onsets of differences: the first run of an unbroken series of runs in which a comparison differs."""

from __future__ import annotations

from collections.abc import Iterable

from vlm_parity.changes.comparison import Comparison, State
from vlm_parity.store.database import Store
from vlm_parity.store.history import HistoryPoint, list_history


def find_onset(store: Store, comparison: Comparison, before: str | None) -> HistoryPoint | None:
    """Find the first of the latest runs in which a comparison differs at the same stage.

    Runs in which it was not compared do not break the series.

    Args:
        store: the store.
        comparison: one that differs.
        before: start of its run, ISO 8601 in UTC; runs that started then or later are left out.

    Returns:
        The earliest run of the series; None if the store holds no earlier run in which it differs.

    Raises:
        StoreError: the store cannot be read.
    """
    history = list_history(store, comparison.identity)
    earlier = [point for point in history if before is None or (point.started or "") < before]
    return _find_first(reversed(earlier), comparison)


def _find_first(points: Iterable[HistoryPoint], comparison: Comparison) -> HistoryPoint | None:
    first = None
    for point in points:
        if point.state is State.NOT_COMPARED:
            continue
        if point.state is not State.DIFFERS or point.first_divergence is not comparison.first_divergence:
            break
        first = point
    return first
