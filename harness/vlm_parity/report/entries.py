"""Verdicts and shards of a run, as the report reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_parity.schema.case import Case
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzRecord
from vlm_parity.schema.run import Shard
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict

_MAX_SHOWN_TESTS = 5


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
    fuzz: FuzzRecord | None = None
    """None if the session did not fuzz, or ``fuzz.json`` is unreadable."""
    problems: tuple[str, ...] = ()
    """Its records that are unreadable or contradictory."""

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
        reason = self._fuzz_incomplete_reason or self._failed_tests_reason
        if reason:
            return reason
        is_empty_share = self.record.share is not None and self.record.share.is_empty
        compared = any(count_compared_stages(entry.verdict) for entry in self.verdicts)
        return "" if compared or self.record.examples or is_empty_share else "it compared nothing"

    @property
    def _cut_off_reason(self) -> str:
        if self.is_running:
            return "its session is still running"
        is_finished = self.record is not None and self.record.finished is not None
        return "" if is_finished else "its session was interrupted"

    @property
    def _fuzz_incomplete_reason(self) -> str:
        summaries = self.fuzz.fuzzed if self.fuzz is not None else ()
        expected = self.record.fuzz_targets if self.record is not None else 0
        if len(summaries) != expected:
            return f"{len(summaries)} of {expected} models and engines in {FUZZ_FILE}"
        return "; ".join(
            f"{each.model} in {each.backend} was not fuzzed completely: {each.incomplete_reason}"
            for each in summaries
            if each.incomplete_reason
        )

    @property
    def _failed_tests_reason(self) -> str:
        failed = self.record.failed_tests if self.record is not None else ()
        if not failed:
            return ""
        more = f" and {len(failed) - _MAX_SHOWN_TESTS} more" if len(failed) > _MAX_SHOWN_TESTS else ""
        return f"tests failed that no verdict explains: {', '.join(failed[:_MAX_SHOWN_TESTS])}{more}"

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
