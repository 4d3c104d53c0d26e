"""Location of the store: an SQLite file or the URL of a PostgreSQL database. Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_parity.util.environment_variables import STORE_VARIABLE, read_text
from vlm_parity.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlm_parity.store.database import Store

DEFAULT_FILE = Path("reports", "store.sqlite")
_PACKAGES = ("sqlalchemy", "alembic")


def get_store_location(option: str | None = None) -> str:
    """Return the location of the store: the option, else ``$VLM_PARITY_STORE``, else the default file."""
    return option or read_text(STORE_VARIABLE) or str(DEFAULT_FILE)


def require_packages() -> None:
    """Check that the packages of the store are installed, before a module that needs them is imported.

    Raises:
        UsageError: they are not.
    """
    if not all(map(find_spec, _PACKAGES)):
        raise UsageError(
            "the run store needs SQLAlchemy and Alembic: pip install 'vlm-parity[store]', or "
            "'vlm-parity[store-postgresql]' for PostgreSQL"
        )


def open_store(option: str | None, report: Callable[[str], None], *, create: bool = False) -> Store:
    """Open the store, migrating an older one.

    Args:
        option: the file or URL that the user names; None for the variable or the default.
        report: called with a line for the user about a migration.
        create: create an SQLite file that does not exist.

    Raises:
        UsageError: the location is neither a file nor a supported URL, the file does not exist, or the
            database is no store or a newer one.
        StoreError: the database cannot be reached.
    """
    from vlm_parity.store.database import Store
    from vlm_parity.store.migrate import migrate

    store = Store.connect(get_store_location(option), create=create)
    migrate(store, report)
    return store
