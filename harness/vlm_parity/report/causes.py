"""Verdicts that part ways, by what explains them."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.report.entries import FiledVerdict
from vlm_parity.report.load_run import Run
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind

NO_CAUSE = "no rule explains it"

_WORDS = ((1.0, "certain"), (0.9, "almost certain"), (0.6, "likely"), (0.3, "possible"), (0.0, "faint"))
"""From which confidence on which word is used."""


@dataclass(frozen=True)
class Cause:
    """The verdicts that have one explanation and part ways at one stage."""

    cause: str
    stage: Stage | None
    """None where the reference refuses what the backend serves."""
    filed: tuple[FiledVerdict, ...]

    @property
    def known(self) -> int:
        """How many of them the ledger knows."""
        return sum(each.verdict.kind is VerdictKind.KNOWN for each in self.filed)

    @property
    def where(self) -> list[tuple[str, list[FiledVerdict]]]:
        """The models and backends in their variants, with the verdicts of each."""
        found: dict[str, list[FiledVerdict]] = {}
        for each in self.filed:
            found.setdefault(f"{each.verdict.model} in {each.verdict.label}", []).append(each)
        return list(found.items())


def surest_cause(verdict: Verdict) -> str:
    """The cause that explains it best, else what the ledger says of it; empty where nothing does."""
    return verdict.diagnoses[0].cause if verdict.diagnoses else verdict.known


def causes(run: Run) -> list[Cause]:
    """All that part ways, by cause and stage: what is new before what is known, the most frequent first."""
    groups: dict[tuple[str, Stage | None], list[FiledVerdict]] = {}
    for filed in run.verdicts:
        if filed.verdict.kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}:
            key = surest_cause(filed.verdict) or NO_CAUSE, filed.verdict.first_divergence
            groups.setdefault(key, []).append(filed)
    found = [Cause(cause, stage, tuple(group)) for (cause, stage), group in groups.items()]
    return sorted(found, key=lambda cause: (cause.known - len(cause.filed), -len(cause.filed)))


def confidence(value: float) -> str:
    """How sure a diagnosis is, in words and percent."""
    word = next(word for least, word in _WORDS if value >= least)
    percent = 100 if value == 1 else min(round(100 * value), 99)  # short of certain is not certain
    return f"{word}, {percent} %"
