"""Rows of the tables of changes and reasons, as plain text for any medium."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_parity.changes.environments import EnvironmentChange
from vlm_parity.changes.gate import Reason
from vlm_parity.changes.groups import MAX_SHOWN, ChangeGroup, format_list, group_changes
from vlm_parity.report.run_comparison import RunComparison

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


def format_note(comparison: RunComparison) -> str:
    """Format the names of both runs, the origin of the baseline, and the factor."""
    baseline = comparison.baseline
    details = [f"release {baseline.release}"] if baseline.release else []
    details += [f"started {baseline.started}"] if baseline.started else []
    shown = "".join(f", {detail}" for detail in (*details, f"from {baseline.origin}"))
    return f"Run {comparison.run.name}; baseline {baseline.name}{shown}; factor {comparison.factor:g}."
