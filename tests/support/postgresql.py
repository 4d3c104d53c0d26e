"""A PostgreSQL server of the tests' own, on a Unix socket, with data that is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

USER = "postgres"
OPTIONS = "-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=40"
"""Nothing outside of this machine's files reaches the server, and nothing has to survive a power failure."""


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which need not be in ``PATH``; None if there is none."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def run_server(programs: Path) -> Iterator[str]:
    """Run a server during a block; yield the URL of its databases, without the name of one."""
    folder = Path(tempfile.mkdtemp(prefix="parity-pg-", dir="/tmp"))
    if os.getuid() == 0:  # initdb refuses to run as root
        shutil.chown(folder, USER)
    data, options = folder / "data", OPTIONS.format(folder=folder)
    try:
        _run(programs / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync")
        _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
        try:
            yield f"postgresql://{USER}@/{{name}}?host={folder}"
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def create_database(server: str, name: str) -> str:
    """Create a database and return its URL."""
    engine = sqlalchemy.create_engine(
        server.format(name="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    engine.dispose()
    return server.format(name=name)


def _run(*words: str | Path) -> None:
    prefix = ["runuser", "-u", USER, "--"] if os.getuid() == 0 else []
    subprocess.run([*prefix, *map(str, words)], check=True, stdout=subprocess.DEVNULL, cwd="/")
