"""Timestamps."""

from __future__ import annotations

from datetime import UTC, datetime


def format_timestamp() -> str:
    """Return the current time in UTC, as it is used in folder names: ``20260301-090000``."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def format_record_time(time: datetime) -> str:
    """Return a time in UTC, as it is used in records: ``2026-03-01T09:00:00.000+00:00``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
