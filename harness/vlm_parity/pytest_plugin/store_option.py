"""The option for the run store: a session adds its run at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from vlm_parity.pytest_plugin.option_table import AddOption, get_option
from vlm_parity.store.location import open_store, require_packages
from vlm_parity.util.errors import StoreError, UsageError
from vlm_parity.util.option_types import parse_text
from vlm_parity.util.text import escape_terminal

if TYPE_CHECKING:
    from vlm_parity.report.load_run import LoadedRun


def add_store_option(add: AddOption) -> None:
    """Declare ``store``."""
    add(
        "store",
        type=parse_text,
        metavar="URL",
        help="add the run to this run store when the session ends: an SQLite file, or postgresql://host/name",
    )


def check_store(config: pytest.Config) -> None:
    """Check that the store can be written, before an engine starts.

    Raises:
        UsageError: its packages are not installed, it is no store, or it cannot be reached.
    """
    location: str | None = get_option(config, "store")
    if location is None:
        return
    require_packages()
    try:
        open_store(location, _print_migration, create=True).engine.dispose()
    except StoreError as error:
        raise UsageError(str(error)) from error


def store_run(config: pytest.Config, run: LoadedRun) -> None:
    """Add a run to the store, if one was named.

    Raises:
        StoreError: it cannot be written.
    """
    location: str | None = get_option(config, "store")
    if location is None:
        return
    from vlm_parity.report.summarize_run import summarize_run
    from vlm_parity.store.import_run import RunLabels, import_run

    store = open_store(location, _print_migration)
    import_run(store, summarize_run(run), RunLabels(evidence=str(run.folder)))
    store.engine.dispose()


def _print_migration(line: str) -> None:
    sys.stderr.write(f"{escape_terminal(line)}\n")
