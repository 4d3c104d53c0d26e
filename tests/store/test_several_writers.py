"""Eight processes import at once, and one of them is killed: nothing is lost, doubled or half there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from tests.support.store_writer import COMPARISONS, build_common_run, build_run
from vlm_parity.store.database import Store
from vlm_parity.store.import_run import ShardImport, import_run
from vlm_parity.store.location import open_store
from vlm_parity.store.read_runs import list_runs
from vlm_parity.store.tables import COMPARISON, IDENTITY

ROOT = Path(__file__).parents[2]
WRITERS, RUNS = 8, 3


def start_writer(location: str, writer: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.store_writer", location, str(writer), str(RUNS)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check_complete(store: Store, expected: dict[str, int]) -> None:
    """Check the number of comparisons of each run, and that no identity is stored twice."""
    assert {run.name: run.comparisons for run in list_runs(store)} == expected
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(COMPARISON)) == sum(expected.values())
        assert connection.scalar(select(func.count()).select_from(IDENTITY)) == 2 * COMPARISONS
        if connection.dialect.name == "sqlite":
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


def test_eight_writers_of_which_one_is_killed(location: str) -> None:
    writers = [start_writer(location, number) for number in range(WRITERS)]
    victim = writers[0]
    assert victim.stdout is not None
    victim.stdout.readline()  # it has imported a run and is importing the next one
    victim.kill()
    for writer in writers:
        writer.communicate(timeout=300)
    assert [writer.returncode for writer in writers] == [-9] + [0] * (WRITERS - 1)

    store = open_store(location, pytest.fail)
    partial = {run.name for run in list_runs(store) if run.comparisons not in {COMPARISONS, 2 * COMPARISONS}}
    assert partial == set(), "an import is stored completely or not at all"
    runs = [build_run(writer, number) for writer in range(WRITERS) for number in range(RUNS)]
    runs += map(build_common_run, range(RUNS))
    for run in runs:
        import_run(store, run)
    check_complete(store, {run.name: len(run.comparisons) for run in runs})
    for run in runs:
        assert set(import_run(store, run).values()) == {ShardImport.UNCHANGED}
    store.engine.dispose()
