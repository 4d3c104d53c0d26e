"""Connection to the database of the store: SQLite or PostgreSQL, one writer at a time in both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from vlm_parity.util.errors import StoreError, UsageError
from vlm_parity.util.writable_folder import ensure_writable_file

WAIT_S = 60
"""Seconds that a writer waits for another one before it fails."""
_SQLITE, _POSTGRESQL = "sqlite", "postgresql"
_DRIVERS = {_SQLITE: "sqlite+pysqlite", _POSTGRESQL: "postgresql+psycopg"}
_WRITE_LOCK = 0x766C6D2D70617269
"""Key of PostgreSQL's advisory lock of writers: the letters ``vlm-pari``."""
_IS_WRITER = "vlm_parity_writer"


@dataclass(frozen=True)
class Store:
    """The database of the store, and its name for users, without a password."""

    engine: Engine
    name: str

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Store:
        """Return the store at a location; no table is read or written.

        Args:
            location: path of an SQLite file, or a URL.
            create: allow an SQLite file that does not exist.

        Raises:
            UsageError: the URL is not supported, its driver is not installed, or the file does not exist.
        """
        url = _parse_location(location)
        if url.drivername == _DRIVERS[_SQLITE]:
            return cls(_create_sqlite_engine(url, create), url.database or "")
        if not find_spec("psycopg"):
            raise UsageError(
                "a store in PostgreSQL needs psycopg: pip install 'vlm-parity[store-postgresql]'"
            )
        settings = {"connect_timeout": WAIT_S, "application_name": "vlm-parity"}
        engine = create_engine(url, connect_args={**settings, **url.query})
        shown = url.set(drivername=_POSTGRESQL, query={})
        return cls(engine, shown.render_as_string(hide_password=True))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and waits for no writer.

        Raises:
            StoreError: the database cannot be reached or read.
        """
        with self._explain_errors(), self.engine.connect() as connection:
            if connection.dialect.name == _POSTGRESQL:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that no other writer overlaps; all of it is stored at its end, or nothing.

        Raises:
            StoreError: the database cannot be written, or another writer held it for ``WAIT_S`` seconds.
        """
        with (
            self._explain_errors(),
            self.engine.execution_options(**{_IS_WRITER: True}).begin() as connection,
        ):
            if connection.dialect.name == _POSTGRESQL:
                connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITE_LOCK})
            yield connection

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            raise StoreError(f"store {self.name}: {reason}") from error


def _parse_location(location: str) -> URL:
    if "://" not in location:
        return URL.create(_DRIVERS[_SQLITE], database=str(Path(location).expanduser().absolute()))
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):
        raise UsageError(
            "the URL of the store cannot be parsed; its form is postgresql://host/name"
        ) from None
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise UsageError(f"store {backend}://...: no such database; there are: sqlite, postgresql")
    if backend == _SQLITE and not url.database:
        raise UsageError("the URL of the store names no file; its form is sqlite:///file")
    return url.set(drivername=_DRIVERS[backend])


def _create_sqlite_engine(url: URL, create: bool) -> Engine:
    file = Path(url.database or "")
    if create:
        ensure_writable_file(file, "--store")
    elif not file.is_file():
        raise UsageError(f"store {file}: no such file; `parity store import RUN` creates it")
    engine = create_engine(url, connect_args={"timeout": WAIT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Set up a connection; readers and the writer do not block each other in the mode WAL."""
    connection.isolation_level = None  # transactions begin below, not when the driver decides
    for setting in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    is_writer = connection.get_execution_options().get(_IS_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")
