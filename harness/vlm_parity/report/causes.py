"""Verdicts that part ways, by what explains them."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_parity.report.entries import VerdictEntry
from vlm_parity.report.load_run import LoadedRun
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
"""From which confidence on which word is used."""


@dataclass(frozen=True)
class CauseGroup:
    """The verdicts that have one explanation and part ways at one stage."""

    cause: str
    stage: Stage | None
    """None where the reference refuses what the backend serves."""
    verdicts: tuple[VerdictEntry, ...]

    @property
    def known(self) -> int:
        """How many of them the ledger knows."""
        return sum(each.verdict.kind is VerdictKind.KNOWN for each in self.verdicts)

    @property
    def where(self) -> list[tuple[str, list[VerdictEntry]]]:
        """The models and backends in their variants, with the verdicts of each."""
        found: dict[str, list[VerdictEntry]] = {}
        for each in self.verdicts:
            found.setdefault(f"{each.verdict.model} in {each.verdict.label}", []).append(each)
        return list(found.items())


def get_top_cause(verdict: Verdict) -> str:
    """The cause that explains it best, else what the ledger says of it; empty where nothing does."""
    return verdict.diagnoses[0].cause if verdict.diagnoses else verdict.known


def group_by_cause(run: LoadedRun) -> list[CauseGroup]:
    """All that part ways, by cause and stage: what is new before what is known, the most frequent first."""
    groups: dict[tuple[str, Stage | None], list[VerdictEntry]] = {}
    for filed in run.verdicts:
        if filed.verdict.kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}:
            key = get_top_cause(filed.verdict) or NO_CAUSE, filed.verdict.first_divergence
            groups.setdefault(key, []).append(filed)
    found = [CauseGroup(cause, stage, tuple(group)) for (cause, stage), group in groups.items()]
    return sorted(found, key=lambda cause: (cause.known - len(cause.verdicts), -len(cause.verdicts)))


def format_confidence(value: float) -> str:
    """How sure a diagnosis is, in words and percent."""
    word = next(word for least, word in _CONFIDENCE_LABELS if value >= least)
    percent = 100 if value == 1 else min(round(100 * value), 99)  # short of certain is not certain
    return f"{word}, {percent} %"
