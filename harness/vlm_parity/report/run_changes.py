"""Changes of a run from a baseline, for its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from vlm_parity.changes.classify import Change, ChangeClass
from vlm_parity.changes.comparison import Identity, State
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.run_comparison import RunComparison


@dataclass(frozen=True)
class Onset:
    """The first run of an unbroken series of runs in which a comparison differs."""

    run: str
    started: str | None
    """ISO 8601, UTC."""

    @property
    def text(self) -> str:
        """The run and the day: ``night-3 (2026-11-03)``."""
        return f"{self.run} ({self.started[:10]})" if self.started else self.run


@dataclass(frozen=True)
class RunChanges:
    """A run compared with a baseline."""

    comparison: RunComparison
    onsets: Mapping[Identity, Onset] = field(default_factory=dict)
    """Of comparisons that differ, as far as earlier runs are known."""

    def map_pages(self, run: LoadedRun) -> dict[str, str]:
        """Return the class of the change of each verdict, by its page."""
        return {page: str(change.kind) for page, change in self._list_pages(run)}

    def map_notes(self, run: LoadedRun) -> dict[str, str]:
        """Return a sentence on the change of each verdict, by its page."""
        return {page: self._format_note(change) for page, change in self._list_pages(run)}

    def _list_pages(self, run: LoadedRun) -> Iterator[tuple[str, Change]]:
        """Yield the change of each verdict with its page; the summary has the order of the run."""
        changes = {id(change.run): change for change in self.comparison.changes if change.run is not None}
        for shard, summary in zip(run.shards, self.comparison.run.shards, strict=True):
            for entry, comparison in zip(shard.verdicts, summary.comparisons, strict=True):
                yield entry.page, changes[id(comparison)]

    def _format_note(self, change: Change) -> str:
        details = f": {'; '.join(change.details)}" if change.details else ""
        note = f"Against {self.comparison.baseline.name}: {change.kind}{details}."
        if change.run is None or change.run.state is not State.DIFFERS:
            return note
        onset = self.onsets.get(change.run.identity)
        if onset is None and change.kind is ChangeClass.UNCHANGED:
            onset = Onset(f"{self.comparison.baseline.name} or earlier", self.comparison.baseline.started)
        return f"{note} It differs since {onset.text}." if onset is not None else note


CompareRun = Callable[[RunSummary], RunChanges]
"""Compares a run with the baseline that its report is about."""
