"""Migrations: a new store, one of each earlier revision, a newer one, and a database that is no store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from vlm_parity.store.database import Store
from vlm_parity.store.location import open_store
from vlm_parity.store.migrate import VERSION_TABLE, get_head, migrate
from vlm_parity.store.read_runs import list_runs, read_run
from vlm_parity.store.tables import METADATA
from vlm_parity.util.errors import StoreError, UsageError

DUMPS = Path(__file__).parent / "dumps"
"""Stores of released revisions, as ``sqlite3 FILE .dump`` prints them. None is ever changed."""


def restore(dump: Path, file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()


def test_the_migrations_lead_to_the_tables(store: Store) -> None:
    with store.read() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, METADATA)
    assert [each for each in differences if "comment" not in str(each)] == []


def test_a_store_is_migrated_once(store: Store) -> None:
    migrate(store, pytest.fail)
    with store.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM store_revision")) == get_head()


@pytest.mark.parametrize("dump", sorted(DUMPS.glob("*.sql")), ids=lambda dump: dump.stem)
def test_a_store_of_each_revision_is_read(dump: Path, tmp_path: Path) -> None:
    restore(dump, tmp_path / "store.sqlite")
    lines: list[str] = []
    store = open_store(str(tmp_path / "store.sqlite"), lines.append)
    assert bool(lines) == (dump.stem != get_head()), "a migration is announced"
    (stored,) = list_runs(store)
    run = read_run(store, stored.key)
    assert [comparison.kind for comparison in run.comparisons] == ["mismatch", "match"]
    assert (run.release, run.comparisons[0].get_cause("vision")) == ("0.18.0", "GELU")
    assert run.comparisons[0].environment.packages["vllm"] == "0.32.0"


def test_every_revision_has_a_dump() -> None:
    assert get_head() in {dump.stem for dump in DUMPS.glob("*.sql")}


def test_a_newer_store_is_refused(store: Store, location: str) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE store_revision SET version_num = '9999'"))
    with pytest.raises(UsageError, match="has revision 9999, which a newer version of vlm-parity wrote"):
        open_store(location, pytest.fail)


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE run (id)")
    connection.close()
    with pytest.raises(UsageError, match="holds a table run that vlm-parity did not write"):
        open_store(str(tmp_path / "other.sqlite"), pytest.fail)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database, but longer than a header of 16 bytes" * 40)
    with pytest.raises(StoreError, match=r"text\.sqlite: file is not a database"):
        open_store(str(tmp_path / "text.sqlite"), pytest.fail)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("mysql://host/name", "mysql://...: no such database; there are: sqlite, postgresql"),
        ("sqlite://", "names no file"),
        ("://", "cannot be parsed"),
        ("nowhere.sqlite", "nowhere.sqlite: no such file; `parity store import RUN` creates it"),
    ],
)
def test_locations_that_are_wrong(location: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(location, pytest.fail)
    assert message in str(caught.value)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://user:secret@127.0.0.1:9/name?sslpassword=hidden", pytest.fail)
    assert "user:***@127.0.0.1:9/name" in str(caught.value)
    assert not {"secret", "hidden"} & set(str(caught.value).replace(":", " ").split())
