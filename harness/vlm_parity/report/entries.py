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
    """A verdict, and where in the run it belongs."""

    shard: str
    verdict: Verdict
    page: str
    """The page that shows it, relative to the run folder."""

    @property
    def title(self) -> str:
        """The case, the model and the backend with its variant."""
        return f"{self.verdict.case} · {self.verdict.model} · {self.verdict.label}"


@dataclass(frozen=True)
class ShardEntry:
    """One part of a run, as it lies on disk."""

    folder: Path
    record: Shard | None
    """None where ``shard.json`` is unreadable."""
    verdicts: tuple[VerdictEntry, ...]

    @property
    def name(self) -> str:
        """The name of the part's folder."""
        return self.folder.name

    @property
    def incomplete_reason(self) -> str:
        """What makes the part incomplete; empty where nothing does."""
        if self.record is None:
            return "its shard.json is unreadable"
        found, expected = len(self.verdicts), self.record.expected
        if found < expected:
            why = "".join(f"; {what}: {problem}" for what, problem in self.record.failures.items())
            return f"{found} of {expected} expected verdicts{why}"
        if found > expected:
            return f"{found} verdicts where {expected} were expected"
        if self.record.finished is None:
            return "its session was cut off or still runs"
        if not self.record.examples and not any(
            map(list_compared_stages, (filed.verdict for filed in self.verdicts))
        ):
            return "it compared nothing"
        return ""

    def case(self, name: str) -> Case | None:
        """What the case asks; None where the part does not say."""
        return self.record.cases.get(name) if self.record else None


def list_stages(verdict: Verdict) -> tuple[StageDiff, ...]:
    """The diffs of all stages, in order; one that the verdict lacks counts as not compared."""
    given = {diff.stage: diff for diff in verdict.stages}
    return tuple(
        given.get(stage)
        or StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message="The verdict lacks this stage.")
        for stage in Stage
    )


def get_diff(verdict: Verdict, stage: Stage) -> StageDiff:
    """The diff of one stage, as in ``all_stages``."""
    return next(diff for diff in list_stages(verdict) if diff.stage == stage)


def list_compared_stages(verdict: Verdict) -> int:
    """How many stages were compared, whatever came of it."""
    return sum(diff.status != DiffStatus.NOT_COMPARED for diff in verdict.stages)
