"""Retention: what the limits select, and that nothing else is deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.support.comparisons import make_run
from tests.support.verdicts import make_environment, make_shard_summary, make_verdict
from vlm_parity.store.database import Store
from vlm_parity.store.import_run import RunLabels, import_run
from vlm_parity.store.read_runs import list_runs, read_run
from vlm_parity.store.retention import delete_runs, list_prunable_runs
from vlm_parity.store.tables import METADATA


@pytest.fixture
def filled(store: Store) -> Store:
    """Store runs of 1 to 5 days ago, of which that of 4 days ago is a release."""
    for days in range(1, 6):
        started = (datetime.now(UTC) - timedelta(days=days, hours=1)).isoformat(timespec="milliseconds")
        verdict = make_verdict(case=f"day_{days}", environment={"python": f"3.11.{days}"})
        shard = make_shard_summary(verdict, session=str(days), started=started)
        labels = RunLabels(release="0.18.0" if days == 4 else "")
        import_run(store, make_run(shard, name=f"{days}"), labels)
    return store


@pytest.mark.parametrize(
    ("keep_last", "older_than_days", "names"),
    [
        (1, None, ["2", "3", "5"]),
        (3, None, ["5"]),
        (9, None, []),
        (None, 2, ["2", "3", "5"]),
        (None, 3, ["3", "5"]),
        (2, 4, ["5"]),
        (3, 2, ["5"]),
    ],
)
def test_both_limits_have_to_select_a_run(
    filled: Store, keep_last: int | None, older_than_days: int | None, names: list[str]
) -> None:
    runs = list_prunable_runs(filled, keep_last=keep_last, older_than_days=older_than_days)
    assert [run.name for run in runs] == names


def test_what_is_deleted_leaves_no_row(filled: Store) -> None:
    kept = read_run(filled, list_runs(filled, release="0.18.0")[0].key)
    delete_runs(filled, list_runs(filled))
    (run,) = list_runs(filled)
    assert run.release == "0.18.0", "a release is never deleted"
    assert read_run(filled, run.key) == kept
    with filled.read() as connection:
        counts = {
            name: connection.scalar(select(func.count()).select_from(table))
            for name, table in METADATA.tables.items()
        }
    assert counts == {
        "run": 1, "shard": 1, "model": 0, "identity": 1, "environment": 1, "comparison": 1,
    }  # fmt: skip
    assert kept.comparisons[0].environment == make_environment(python="3.11.4")
