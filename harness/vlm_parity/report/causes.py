"""Mismatches of a run, grouped by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from vlm_parity.report.entries import VerdictEntry
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind

NO_CAUSE = "no rule explains it"

_CONFIDENCE_LABELS = (
    (1.0, "certain"),
    (0.9, "almost certain"),
    (0.6, "likely"),
    (0.3, "possible"),
    (0.0, "faint"),
)
"""The lowest confidence of each label."""


@dataclass(frozen=True)
class CauseGroup:
    """The mismatches with the same cause and the same first divergent stage."""

    cause: str
    stage: Stage | None
    """None if the reference refuses the case and the backend does not."""
    verdicts: tuple[VerdictEntry, ...]

    @property
    def known(self) -> int:
        """The number of verdicts that are known issues."""
        return sum(entry.verdict.kind is VerdictKind.KNOWN for entry in self.verdicts)

    @property
    def kinds(self) -> list[tuple[VerdictKind, int]]:
        """The number of verdicts of each kind, the worst first."""
        return list(Counter(entry.verdict.kind for entry in self.verdicts).items())

    @property
    def where(self) -> list[tuple[str, list[VerdictEntry]]]:
        """The verdicts by model and by backend with mode and entry point."""
        groups: dict[str, list[VerdictEntry]] = {}
        for entry in self.verdicts:
            groups.setdefault(f"{entry.verdict.model} in {entry.verdict.label}", []).append(entry)
        return list(groups.items())


def get_top_cause(verdict: Verdict) -> str:
    """Return the most likely cause, else the note of the known issue; empty if there is neither."""
    return verdict.diagnoses[0].cause if verdict.diagnoses else verdict.known


def get_cause_label(verdict: Verdict) -> str:
    """Return the cause under which a difference is grouped; empty for a verdict that is not one."""
    if verdict.kind not in {VerdictKind.MISMATCH, VerdictKind.UNSTABLE, VerdictKind.KNOWN}:
        return ""
    return get_top_cause(verdict) or NO_CAUSE


def group_by_cause(entries: Iterable[VerdictEntry]) -> list[CauseGroup]:
    """Group mismatches by cause and stage: new ones before known ones, the most frequent first."""
    groups: dict[tuple[str, Stage | None], list[VerdictEntry]] = {}
    for entry in entries:
        if label := get_cause_label(entry.verdict):
            groups.setdefault((label, entry.verdict.first_divergence), []).append(entry)
    causes = [CauseGroup(cause, stage, tuple(group)) for (cause, stage), group in groups.items()]
    return sorted(causes, key=lambda cause: (cause.known - len(cause.verdicts), -len(cause.verdicts)))


def format_confidence(value: float) -> str:
    """Format a confidence as a word and a percentage."""
    word = next(word for least, word in _CONFIDENCE_LABELS if value >= least)
    percent = 100 if value == 1 else min(round(100 * value), 99)  # 0.999 is not certain
    return f"{word}, {percent} %"
