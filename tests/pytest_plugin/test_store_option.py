"""Sessions with ``--store``: the run is added at the end; a store that cannot be used is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy.dialects.postgresql")  # imported once, not in every session

from tests.support.plugin_sessions import AGAIN, BOTH, RunPytest, WriteTraces
from vlm_parity.changes.comparison import Comparison
from vlm_parity.report.summarize_run import read_run_summary
from vlm_parity.store.location import open_store
from vlm_parity.store.read_runs import list_runs, read_run

pytest_plugins = ["pytester"]


def read_comparisons(file: Path) -> list[tuple[str, tuple[Comparison, ...]]]:
    """Return the runs of a store with their comparisons, the newest first."""
    store = open_store(str(file), pytest.fail)
    runs = [(run.name, read_run(store, run.key).comparisons) for run in list_runs(store)]
    store.engine.dispose()
    return runs


def test_a_run_is_added_shard_by_shard(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    file = pytester.path / "store.sqlite"
    for shard in ("first", "second"):
        result = parity(*AGAIN, *BOTH, "--shard", shard, "--store", str(file))
        assert result.ret == pytest.ExitCode.OK
    expected = read_run_summary(pytester.path / "run").comparisons
    assert len(expected) == 4
    assert read_comparisons(file) == [("run", expected)]


def test_a_store_that_cannot_be_opened_is_a_usage_error(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    result = parity(*AGAIN, *BOTH, "--store", "mysql://host/name")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*store mysql://...: no such database; there are: sqlite, postgresql*"])
    assert not (pytester.path / "run" / "shards").exists()


def test_a_store_that_fails_at_the_end_fails_the_session(
    parity: RunPytest, earlier_run: WriteTraces, pytester: pytest.Pytester
) -> None:
    earlier_run()
    pytester.makeconftest(
        """
        from pathlib import Path

        def pytest_sessionfinish():
            Path("store.sqlite").write_text("damaged by another program " * 100)
        """
    )
    result = parity(*AGAIN, *BOTH, "--store", "store.sqlite")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stderr.fnmatch_lines(["the run is not in the store: store *store.sqlite: file is not a database*"])
    assert (pytester.path / "run" / "index.html").is_file()
