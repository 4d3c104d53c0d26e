"""The faults that a test injects, and their figures as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

SHARES = 4
"""Number of tests among which the faults of one kind are distributed, for pytest-xdist."""
PROPERTY = "faults"
"""Name of the property under which a test reports its figures."""
AnyFault = TypeVar("AnyFault")
Figures = tuple[str, int, int, int]
"""A kind with its numbers of experiments, of possible experiments, and of violations."""


@dataclass
class Experiments:
    """The experiments of one test, all of one kind."""

    is_thorough: bool
    """True to inject every fault, False for a sample."""
    kind: str = ""
    possible: int = 0
    count: int = 0
    violations: list[str] = field(default_factory=list)

    def choose(
        self, kind: str, faults: Sequence[AnyFault], share: int, step: int, shares: int = SHARES
    ) -> Sequence[AnyFault]:
        """Return the faults to inject: every one of this share, or one in ``step``."""
        faults = faults[share::shares]
        self.kind, self.possible = kind, len(faults)
        return faults if self.is_thorough else faults[step // 2 :: step]

    def add(self, name: str, violations: Iterable[str]) -> None:
        """Add one experiment and what violated an invariant in it."""
        self.count += 1
        self.violations += (f"{name}: {violation}" for violation in violations)

    def verify(self) -> None:
        """Fail if there is a violation, or if there was no experiment."""
        assert not self.violations, "\n".join(self.violations)
        assert self.count

    @property
    def figures(self) -> Figures:
        """The figures for the table."""
        return self.kind, self.count, self.possible, len(self.violations)


def format_table(figures: Iterable[Figures]) -> list[str]:
    """Format the sums by kind as a Markdown table."""
    columns: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
    for kind, *numbers in figures:
        for column, number in zip(columns, numbers, strict=True):
            column[kind] += number
    rows = [[kind, *(f"{column[kind]:,}" for column in columns)] for kind in sorted(columns[0])]
    rows.append(["all", *(f"{column.total():,}" for column in columns)])
    return [
        "| fault | injected | possible | violations |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
