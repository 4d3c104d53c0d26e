"""Retention: the runs that a store may delete, and their deletion."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, union

from vlm_parity.store.database import Store
from vlm_parity.store.read_runs import StoredRun, list_runs
from vlm_parity.store.tables import COMPARISON, ENVIRONMENT, IDENTITY, RUN
from vlm_parity.util.clock import format_record_time


def list_prunable_runs(
    store: Store, *, keep_last: int | None = None, older_than_days: float | None = None
) -> tuple[StoredRun, ...]:
    """List the runs that both limits select, the newest first; a release is never among them.

    Args:
        store: the store.
        keep_last: the newest runs to keep; releases do not count.
        older_than_days: runs that started later are kept.

    Raises:
        StoreError: the store cannot be read.
    """
    runs = tuple(each for each in list_runs(store) if not each.release)
    if keep_last is not None:
        runs = runs[keep_last:]
    if older_than_days is not None:
        limit = format_record_time(datetime.now(UTC) - timedelta(days=older_than_days))
        runs = tuple(each for each in runs if (each.started or "") < limit)
    return runs


def delete_runs(store: Store, runs: Iterable[StoredRun]) -> None:
    """Delete runs with all of their rows.

    Raises:
        StoreError: the store cannot be written.
    """
    used_environments = union(select(COMPARISON.c.environment), select(COMPARISON.c.reference_environment))
    with store.write() as connection:
        connection.execute(delete(RUN).where(RUN.c.id.in_([each.key for each in runs]), RUN.c.release == ""))
        connection.execute(delete(IDENTITY).where(IDENTITY.c.digest.not_in(select(COMPARISON.c.identity))))
        connection.execute(delete(ENVIRONMENT).where(ENVIRONMENT.c.digest.not_in(used_environments)))
