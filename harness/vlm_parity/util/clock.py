"""Time stamps."""

from __future__ import annotations

from datetime import UTC, datetime


def format_timestamp() -> str:
    """Now, in UTC, as it stands in names of folders."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
