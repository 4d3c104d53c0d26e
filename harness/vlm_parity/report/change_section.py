"""The section of the index that shows what changed since the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.changes.groups import ChangeGroup
from vlm_parity.report.comparison_rows import (
    format_environment,
    format_note,
    list_shown_groups,
    shorten_list,
)
from vlm_parity.report.run_comparison import RunComparison

MAX_GROUPS = 20
"""Groups of changes in the index; ``parity compare`` prints all."""


@dataclass(frozen=True)
class ChangeSection:
    """Values of the section, as plain text."""

    sentence: str
    note: str
    is_worse: bool
    baseline_problems: tuple[str, ...]
    environment: tuple[str, ...]
    groups: tuple[ChangeGroup, ...]
    omitted: int
    """Number of groups left out."""


def build_change_section(comparison: RunComparison) -> ChangeSection:
    """Build the section of a run and its baseline."""
    groups = list_shown_groups(comparison)
    return ChangeSection(
        sentence=comparison.sentence,
        note=format_note(comparison),
        is_worse=comparison.is_worse,
        baseline_problems=tuple(shorten_list(comparison.baseline.problems)),
        environment=tuple(map(format_environment, comparison.environment)),
        groups=groups[:MAX_GROUPS],
        omitted=max(0, len(groups) - MAX_GROUPS),
    )
