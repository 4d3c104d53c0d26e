"""Verdicts and shards of a run, as the report reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_parity.schema.case import Case
from vlm_parity.schema.run import Shard
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict


@dataclass(frozen=True)
class VerdictEntry:
    """A verdict and its place in the run."""

    shard: str
    verdict: Verdict
    page: str
    """Path of its page, relative to the run folder."""
    path: Path
    """The file of the verdict."""

    @property
    def title(self) -> str:
        """The case, the model, and the backend with mode and entry point."""
        return f"{self.verdict.case} · {self.verdict.model} · {self.verdict.label}"


@dataclass(frozen=True)
class ShardEntry:
    """One shard of a run, as it is stored."""

    folder: Path
    record: Shard | None
    """None if ``shard.json`` is unreadable."""
    verdicts: tuple[VerdictEntry, ...]
    is_running: bool = False
    """True if a session is writing it."""

    @property
    def name(self) -> str:
        """The name of the shard's folder."""
        return self.folder.name

    @property
    def incomplete_reason(self) -> str:
        """The reason why the shard is incomplete; empty if it is complete."""
        if self.record is None:
            return "its shard.json is unreadable"
        count, expected = len(self.verdicts), self.record.expected
        failures = "".join(f"; {load}: {message}" for load, message in self.record.failures.items())
        if count < expected:
            cut_off = f"; {self._cut_off_reason}" if self._cut_off_reason else ""
            return f"{count} of {expected} expected verdicts{cut_off}{failures}"
        if count > expected:
            return f"{count} verdicts instead of {expected}"
        if self._cut_off_reason:
            return self._cut_off_reason
        if failures:
            return f"comparisons failed{failures}"
        if not self.record.examples and not any(
            map(count_compared_stages, (entry.verdict for entry in self.verdicts))
        ):
            return "it compared nothing"
        return ""

    @property
    def _cut_off_reason(self) -> str:
        if self.is_running:
            return "its session is still running"
        is_finished = self.record is not None and self.record.finished is not None
        return "" if is_finished else "its session was interrupted"

    def case(self, name: str) -> Case | None:
        """Return a case by name; None if the shard does not hold it."""
        return self.record.cases.get(name) if self.record else None


def list_stages(verdict: Verdict) -> tuple[StageDiff, ...]:
    """Return the diffs of all stages, in order; a stage that the verdict lacks counts as not compared."""
    diffs = {diff.stage: diff for diff in verdict.stages}
    return tuple(
        diffs.get(stage)
        or StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message="The verdict lacks this stage.")
        for stage in Stage
    )


def get_diff(verdict: Verdict, stage: Stage) -> StageDiff:
    """Return the diff of one stage, as in ``list_stages``."""
    return next(diff for diff in list_stages(verdict) if diff.stage == stage)


def count_compared_stages(verdict: Verdict) -> int:
    """Return the number of stages that were compared, whatever the result."""
    return sum(diff.status != DiffStatus.NOT_COMPARED for diff in verdict.stages)
