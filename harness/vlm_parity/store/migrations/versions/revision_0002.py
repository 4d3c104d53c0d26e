"""Comparisons state the attempts that failed before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; comparisons of the first schema were run once."""
    op.add_column("comparison", sa.Column("retry_note", sa.Text(), nullable=False, server_default=""))
