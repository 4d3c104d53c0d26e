"""What the self-check found, as it is written to ``selfcheck.json``."""

from __future__ import annotations

from collections.abc import Iterable

from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.record import Record
from vlm_parity.schema.trace import Stage

SELFCHECK_SCHEMA = 2
SELFCHECK_FILE = "selfcheck.json"

STRICT_DTYPE = "float32"
"""The dtype in which every fault has to be found: its noise is so small that each stands far above it."""


class FaultRow(Record):
    """One fault, planted in one engine, on one case."""

    fault: str
    backend: str
    model: str
    case: str
    dtype: str
    mode: str = DEFAULT_MODE
    visible: bool
    """Whether it changes what the engine does by more than the noise of this dtype; measured against the
    same engine without it, not against the reference."""
    detected: bool
    is_stage_correct: bool
    is_cause_correct: bool
    limit_ratio: float | None
    """By how much the worst ratio is over its limit; None where the stage is compared exactly."""
    expected_stage: Stage
    stage: Stage | None
    """The first divergence that was found."""
    expected_cause: str
    cause: str
    """The surest diagnosis; empty where there is none."""
    message: str
    """What the report says of it."""

    @property
    def good(self) -> bool:
        """Whether the harness made of it what it has to."""
        return not self.visible or (self.detected and self.is_stage_correct and self.is_cause_correct)


class CleanRow(Record):
    """One control: an engine without a fault, on some cases."""

    control: str
    backend: str
    model: str
    dtype: str
    comparisons: int
    """Stages that were compared."""
    false_alarms: int
    """Stages that differ."""
    largest_limit_ratio: float
    """The largest ratio over its limit; below 1 all is well."""
    messages: tuple[str, ...] = ()
    """What was said where something differs."""


class SelfcheckRecord(Record):
    """The whole self-check, or what one environment adds to it."""

    schema_version: int = SELFCHECK_SCHEMA
    faults: tuple[FaultRow, ...]
    clean: tuple[CleanRow, ...]
    clean_comparisons: int
    false_alarms: int
    expected_engines: int
    """How many engine loads it set out to check."""
    finished_engines: int
    problems: tuple[str, ...] = ()
    """What went wrong with the check itself: an engine that did not load, a fault that killed it."""
    packages: dict[str, str] = {}
    """Distribution name to version, of the environments it ran in."""
    seconds: float

    @property
    def passes(self) -> bool:
        """Whether it shows that the harness works: in float32 every fault is visible, found at the right
        stage and given the right cause; in no dtype is there a false alarm; nothing is missing.
        """
        strict = [row for row in self.faults if row.dtype == STRICT_DTYPE]
        whole = self.finished_engines == self.expected_engines and not self.problems
        return bool(whole and strict and self.clean_comparisons and not self.false_alarms) and all(
            row.visible and row.good for row in strict
        )


def merge_selfchecks(checks: Iterable[SelfcheckRecord]) -> SelfcheckRecord:
    """Several environments' checks as one."""
    parts = list(checks)
    return SelfcheckRecord(
        faults=tuple(row for part in parts for row in part.faults),
        clean=tuple(row for part in parts for row in part.clean),
        clean_comparisons=sum(part.clean_comparisons for part in parts),
        false_alarms=sum(part.false_alarms for part in parts),
        expected_engines=sum(part.expected_engines for part in parts),
        finished_engines=sum(part.finished_engines for part in parts),
        problems=tuple(problem for part in parts for problem in part.problems),
        packages=_all_versions([part.packages for part in parts]),
        seconds=sum(part.seconds for part in parts),
    )


def _all_versions(environments: list[dict[str, str]]) -> dict[str, str]:
    """Every distribution with all versions that it was found in."""
    names = dict.fromkeys(name for packages in environments for name in packages)
    found = {name: dict.fromkeys(p[name] for p in environments if name in p) for name in names}
    return {name: " and ".join(versions) for name, versions in found.items()}
