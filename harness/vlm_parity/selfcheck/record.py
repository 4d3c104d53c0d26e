"""Results of the self-check, as written to ``selfcheck.json``."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.record import Count, Record, Seconds
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.cause_grade import CONFIDENT, CauseGrade

SELFCHECK_SCHEMA = 5

STRICT_DTYPE = "float32"
"""The dtype in which every fault has to be found: its noise is far below the effect of each."""


class FaultRow(Record):
    """One fault, injected into one engine, on one case."""

    fault: str
    backend: str
    model: str
    case: str
    dtype: str
    mode: str = DEFAULT_MODE
    visible: bool
    """True if the fault changes the results of the engine by more than the noise of this dtype, measured
    against the same engine without it, not against the reference."""
    detected: bool
    is_stage_correct: bool
    grade: CauseGrade
    """The grade of ``cause``; ``none`` if the fault was not detected."""
    limit_ratio: float | None
    """The worst ratio of a difference to its limit; None if the stage is compared exactly."""
    expected_stage: Stage
    stage: Stage | None
    """The first differing stage of the verdict."""
    expected_cause: str
    cause: str
    """The most confident diagnosis; empty if there is none."""
    confidence: float | None = Field(ge=0, le=1)
    """The confidence of this diagnosis; None if there is none."""
    message: str
    """The reason of the verdict."""
    behind: Stage | None = None
    """The stage at which the engine differs without the fault, or by an earlier one that is injected with it,
    so that it has to be found behind that."""

    @property
    def passes(self) -> bool:
        """True if the fault is invisible, or detected at the expected stage with a true cause."""
        is_true = self.grade in {CauseGrade.SPECIFIC, CauseGrade.GENERAL}
        return not self.visible or (self.detected and self.is_stage_correct and is_true)

    @property
    def graded_cause(self) -> str:
        """The cause for reports, with its grade and the expected cause unless it is the specific one."""
        if self.grade is CauseGrade.SPECIFIC:
            return self.cause
        expected = "" if self.cause == self.expected_cause else f", expected {self.expected_cause}"
        return f"{self.cause or 'no cause'} ({self.grade}{expected})"

    @property
    def is_misleading(self) -> bool:
        """True if a wrong cause has a high confidence."""
        return self.grade is CauseGrade.WRONG and (self.confidence or 0.0) > CONFIDENT


class ControlRow(Record):
    """One clean control: an engine without a fault, on some cases."""

    control: str
    backend: str
    model: str
    dtype: str
    comparisons: Count
    """The number of stages that were compared."""
    false_alarms: Count
    """The number of stages that differ."""
    largest_limit_ratio: float
    """The largest ratio of a difference to its limit; below 1 if everything matches."""
    messages: tuple[str, ...] = ()
    """The verdicts that are no match."""


class ModuleRow(Record):
    """One fault in one module of an engine, to be located."""

    fault: str
    backend: str
    model: str
    case: str
    expected: str
    """Pattern of the module to name, with the point at which it differs."""
    named: tuple[str, ...]
    """The modules that were named, without those of the engine without a fault."""
    is_correct: bool
    """True if the expected module is named, and nothing else."""
    expected_cause: str
    cause: str
    """Of the expected module; empty if it is not named."""
    clean_differences: Count
    """The number of modules that are named without a fault: real differences of the engine."""
    seconds: Seconds
    """Of the forced passes."""

    @property
    def passes(self) -> bool:
        """True if the expected module is named with its cause, and nothing else."""
        return self.is_correct and self.cause == self.expected_cause


class SelfcheckRecord(Record):
    """The whole self-check, or the shard of one environment."""

    schema_version: int = SELFCHECK_SCHEMA
    faults: tuple[FaultRow, ...]
    controls: tuple[ControlRow, ...]
    modules: tuple[ModuleRow, ...] = ()
    clean_comparisons: Count
    false_alarms: Count
    expected_engines: Count
    """The number of engine loads to check."""
    finished_engines: Count
    problems: tuple[str, ...] = ()
    """Failures of the check itself: an engine that did not load, a fault that crashed it."""
    packages: dict[str, str] = {}
    """Versions in the environments of the run, by distribution name."""
    seconds: Seconds

    @property
    def passes(self) -> bool:
        """True if the harness works.

        In float32 every fault has to be visible and detected at the right stage, with a specific or general
        cause, and every fault of a module has to be located. In no dtype may there be a false alarm, and
        nothing may be missing.
        """
        strict = [row for row in self.faults if row.dtype == STRICT_DTYPE]
        is_complete = self.finished_engines == self.expected_engines and not self.problems
        is_clean = not self.false_alarms and (self.clean_comparisons or not strict)
        is_located = all(row.passes for row in self.modules)
        return bool(is_complete and is_clean and is_located and (strict or self.modules)) and all(
            row.visible and row.passes for row in strict
        )


def merge_selfchecks(checks: Iterable[SelfcheckRecord], problems: Iterable[str] = ()) -> SelfcheckRecord:
    """Merge the records of several environments; add the problems of reading them."""
    shards = list(checks)
    return SelfcheckRecord(
        faults=tuple(row for shard in shards for row in shard.faults),
        controls=tuple(row for shard in shards for row in shard.controls),
        modules=tuple(row for shard in shards for row in shard.modules),
        clean_comparisons=sum(shard.clean_comparisons for shard in shards),
        false_alarms=sum(shard.false_alarms for shard in shards),
        expected_engines=sum(shard.expected_engines for shard in shards),
        finished_engines=sum(shard.finished_engines for shard in shards),
        problems=(*problems, *(problem for shard in shards for problem in shard.problems)),
        packages=_merge_versions([shard.packages for shard in shards]),
        seconds=sum(shard.seconds for shard in shards),
    )


def _merge_versions(environments: list[dict[str, str]]) -> dict[str, str]:
    """Join the versions of each distribution over all environments."""
    names = dict.fromkeys(name for packages in environments for name in packages)
    versions = {name: dict.fromkeys(p[name] for p in environments if name in p) for name in names}
    return {name: " and ".join(distinct) for name, distinct in versions.items()}
