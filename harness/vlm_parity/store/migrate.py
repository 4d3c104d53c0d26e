"""Creation of the store's tables, and migration of an older store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from vlm_parity.store.database import Store
from vlm_parity.store.tables import METADATA
from vlm_parity.util.errors import UsageError

VERSION_TABLE = "store_revision"
_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(store: Store, report: Callable[[str], None]) -> None:
    """Create the tables of an empty database, or bring those of an older store up to date.

    Args:
        store: the database.
        report: called with a line for the user if there is something to migrate.

    Raises:
        UsageError: the database holds other tables of these names, or a newer store.
        StoreError: it cannot be read or written.
    """
    head = get_head()
    with store.read() as connection:
        if _get_revision(connection) == head:
            return
    with store.write() as connection:
        revision = _get_revision(connection)  # another process may have migrated it in the meantime
        if revision == head:
            return
        _check_revision(connection, revision, store.name)
        if revision is not None:
            report(f"The store {store.name} is migrated from revision {revision} to {head}.")
        command.upgrade(_build_config(connection), "head")


def get_head() -> str:
    """Return the newest revision of the schema."""
    head = ScriptDirectory(str(_SCRIPTS)).get_current_head()
    assert head is not None
    return head


def _get_revision(connection: Connection) -> str | None:
    """Return the revision of the database; None if it has no store."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def _check_revision(connection: Connection, revision: str | None, name: str) -> None:
    known = {script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise UsageError(
            f"store {name}: has revision {revision}, which a newer version of vlm-parity wrote; this one "
            f"supports revisions up to {get_head()}: upgrade vlm-parity, or name another store"
        )
    taken = sorted(METADATA.tables.keys() & set(inspect(connection).get_table_names()))
    if revision is None and taken:
        raise UsageError(
            f"store {name}: holds a table {taken[0]} that vlm-parity did not write; name another database"
        )


def _build_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
    return config
