"""Rows of the tables of changes and reasons, as plain text for any medium."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlm_parity.changes.environments import EnvironmentChange
from vlm_parity.changes.gate import Reason
from vlm_parity.changes.groups import MAX_SHOWN, ChangeGroup, format_list, group_changes
from vlm_parity.report.run_comparison import CHECKPOINT_NOTE, RunComparison

CHANGE_HEADER = ("class", "stage", "cause", "count", "comparisons")
REASON_HEADER = ("level", "rule", "count", "reason")


def list_shown_groups(comparison: RunComparison) -> tuple[ChangeGroup, ...]:
    """Return the groups of a table: all comparisons that are not the same."""
    return group_changes(change for change in comparison.changes if not change.is_same)


def build_change_row(group: ChangeGroup) -> tuple[str, ...]:
    """Build the row of a group, under ``CHANGE_HEADER``."""
    return str(group.kind), group.stage, group.cause, str(len(group.changes)), group.summary


def build_reason_row(reason: Reason) -> tuple[str, ...]:
    """Build the row of a reason, under ``REASON_HEADER``."""
    return str(reason.level), reason.rule, str(len(reason.changes) or ""), reason.text


def format_environment(change: EnvironmentChange) -> str:
    """Format a change of an environment with its places."""
    return f"{change.text} ({format_list(change.places)})"


def shorten_list(problems: Sequence[str]) -> list[str]:
    """Return the first problems of a run, and the number of those left out: an old run has one per record."""
    omitted = len(problems) - MAX_SHOWN
    return [*problems[:MAX_SHOWN], *([f"and {omitted} more problems"] if omitted > 0 else [])]


def list_notes(comparison: RunComparison) -> Iterator[str]:
    """Yield the remarks on a comparison as a whole."""
    yield f"Run {comparison.run.name}, baseline {comparison.baseline.name}; factor {comparison.factor:g}."
    yield CHECKPOINT_NOTE
