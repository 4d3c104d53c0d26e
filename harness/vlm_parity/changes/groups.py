"""Groups of changes with the same class, stage and cause."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlm_parity.changes.classify import Change, ChangeClass

MAX_SHOWN = 3
"""Number of comparisons or problems that a line names."""
NO_CAUSE = "no rule explains it"


@dataclass(frozen=True)
class ChangeGroup:
    """Changes of one class, at one stage, with one cause."""

    kind: ChangeClass
    stage: str
    cause: str
    changes: tuple[Change, ...]

    @property
    def is_worse(self) -> bool:
        """True if one of the changes is worse."""
        return any(change.is_worse for change in self.changes)

    @property
    def summary(self) -> str:
        """The first comparisons with their details, and the number of those left out."""
        return format_list(
            [
                f"{change.title} ({'; '.join(change.details)})" if change.details else change.title
                for change in self.changes
            ]
        )

    @property
    def text(self) -> str:
        """The stage, the cause and the comparisons in a line."""
        cause = f" ({self.cause})" if self.stage and self.cause else self.cause
        point = f"{self.stage}{cause}"
        return f"{point}: {self.summary}" if point else self.summary


def format_list(texts: Sequence[str]) -> str:
    """Format the first texts of a list, and the number of those left out."""
    omitted = len(texts) - MAX_SHOWN
    return "; ".join([*texts[:MAX_SHOWN], *([f"and {omitted} more"] if omitted > 0 else [])])


def group_changes(changes: Iterable[Change]) -> tuple[ChangeGroup, ...]:
    """Group changes by class, stage and cause, the worst class and the largest group first."""
    groups: dict[tuple[ChangeClass, str, str], list[Change]] = defaultdict(list)
    for change in changes:
        cause = change.cause or (NO_CAUSE if change.stage else "")
        groups[change.kind, change.stage, cause].append(change)
    order = list(ChangeClass)
    found = [ChangeGroup(*key, tuple(group)) for key, group in groups.items()]
    return tuple(sorted(found, key=lambda group: (order.index(group.kind), -len(group.changes))))


def format_counts(changes: Iterable[Change]) -> str:
    """Format the number of changes of each class that occurs, the worst first."""
    counts = Counter(change.kind for change in changes)
    return ", ".join(f"{counts[kind]} {kind}" for kind in ChangeClass if counts[kind])
