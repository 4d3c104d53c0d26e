"""Stores in SQLite and, if its programs are installed, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from tests.support.postgresql import create_database, find_programs, run_server
from vlm_parity.store.database import Store
from vlm_parity.store.location import open_store

NUMBERS = count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Run a PostgreSQL server; return the URL of its databases."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no program of PostgreSQL: apt-get install postgresql")
    with run_server(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the location of a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    return create_database(request.getfixturevalue("server"), f"store_{next(NUMBERS)}")


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    """Open an empty store."""
    store = open_store(location, pytest.fail, create=True)
    yield store
    store.engine.dispose()
