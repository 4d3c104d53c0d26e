"""Alembic's entry into the migrations; ``vlm_parity.store.migrate`` passes the connection."""

from __future__ import annotations

from alembic import context

from vlm_parity.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,  # SQLite alters no column in place
)
with context.begin_transaction():
    context.run_migrations()
