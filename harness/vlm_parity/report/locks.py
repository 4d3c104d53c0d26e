"""The lock of a shard's environment, as a sentence."""

from __future__ import annotations

from vlm_parity.schema.run import Lock, LockDifference


def format_lock(lock: Lock | None) -> str:
    """Format the lock of a shard, and each package that differs from it."""
    if lock is None:
        return "No lock: nothing pinned the packages of this environment."
    title = f"Lock {lock.name} ({lock.pins} packages, {lock.digest})"
    if not lock.differences:
        return f"{title}: every package as pinned."
    differences = "; ".join(_format_difference(difference) for difference in lock.differences)
    return f"{title}, except: {differences}."


def _format_difference(difference: LockDifference) -> str:
    installed = difference.installed or "not installed"
    return f"{difference.name} {installed} ({difference.pinned or 'not'} pinned)"
