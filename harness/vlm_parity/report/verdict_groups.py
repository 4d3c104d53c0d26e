"""The verdicts of a run by model and by backend, each group with a page of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from vlm_parity.report.causes import CauseGroup, group_by_cause
from vlm_parity.report.entries import VerdictEntry
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.matrix import AGREEMENT
from vlm_parity.report.page_names import make_page_name
from vlm_parity.report.summary import VerdictCounts

MODEL, BACKEND = "model", "backend"
PAGE_FOLDERS = {MODEL: "models", BACKEND: "backends"}
"""The folder of the pages of each kind of group, in a run."""
MAX_ROWS = 100
"""The most verdicts that a page without filters lists with their stages."""


@dataclass(frozen=True)
class VerdictGroup:
    """All verdicts of one model, or of one backend in all its modes and entry points."""

    kind: str
    """``model`` or ``backend``: the field of a verdict that they share."""
    name: str
    page: str
    """Path of its page, relative to the run folder."""
    entries: tuple[VerdictEntry, ...]
    """The worst first."""

    @cached_property
    def counts(self) -> VerdictCounts:
        """The counts of its verdicts."""
        return VerdictCounts.of(entry.verdict for entry in self.entries)

    @property
    def notable(self) -> list[VerdictEntry]:
        """Its verdicts without agreement."""
        return list_notable(self.entries)

    @property
    def causes(self) -> list[CauseGroup]:
        """Its mismatches by cause."""
        return group_by_cause(self.entries)

    @property
    def by_setup(self) -> list[tuple[str, list[VerdictEntry]]]:
        """Its verdicts by model and by backend with mode and entry point, sorted by name."""
        groups: dict[str, list[VerdictEntry]] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.title):
            groups.setdefault(f"{entry.verdict.model} in {entry.verdict.label}", []).append(entry)
        return sorted(groups.items())

    @property
    def labels(self) -> list[str]:
        """The backends with mode and entry point."""
        return sorted({entry.verdict.label for entry in self.entries})


def list_verdict_groups(run: LoadedRun, kind: str) -> list[VerdictGroup]:
    """List the groups of one kind, by name."""
    entries: dict[str, list[VerdictEntry]] = {}
    for entry in run.verdicts:
        entries.setdefault(getattr(entry.verdict, kind), []).append(entry)
    taken: set[str] = set()
    return [
        VerdictGroup(
            kind, name, f"{PAGE_FOLDERS[kind]}/{make_page_name([name], taken)}", tuple(entries[name])
        )
        for name in sorted(entries)
    ]


def list_notable(entries: Iterable[VerdictEntry]) -> list[VerdictEntry]:
    """List the verdicts without agreement, in their order."""
    return [entry for entry in entries if entry.verdict.kind not in AGREEMENT]
