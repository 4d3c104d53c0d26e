"""Timestamps."""

from __future__ import annotations

from datetime import UTC, datetime


def format_timestamp() -> str:
    """Return the current time in UTC, as it is used in folder names: ``20260301-090000``."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
