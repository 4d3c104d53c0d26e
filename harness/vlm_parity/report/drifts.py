"""Drift between the references of the environments of a run: transformers against itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from vlm_parity.drift.compare import ReferenceTrace, compare_reference_traces
from vlm_parity.drift.stages import DriftStatus, StageDrift
from vlm_parity.report.run_files import find_file
from vlm_parity.schema.array_sketch import SKETCH_FILE
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import Environment, Outcome, Stage

if TYPE_CHECKING:
    from vlm_parity.report.entries import ShardEntry


@dataclass(frozen=True)
class EnvironmentReferences:
    """The reference traces of one environment."""

    environment: Environment
    shards: tuple[str, ...]
    traces: dict[tuple[str, str], ReferenceTrace]
    """By model and case."""

    @property
    def version(self) -> str:
        """The version of transformers."""
        return self.environment.packages.get("transformers", "of unknown version")

    @property
    def label(self) -> str:
        """The version and the shards of this environment."""
        return f"{self.version} ({', '.join(self.shards)})"


@dataclass(frozen=True)
class CaseDrift:
    """Two references of one case, stage by stage."""

    model: str
    case: str
    stages: tuple[StageDrift, ...]
    is_refused: bool
    """True if both refuse the case, which is agreement too."""

    @property
    def first(self) -> StageDrift | None:
        """The first stage that drifts."""
        return next((stage for stage in self.stages if stage.status is DriftStatus.DRIFT), None)

    @property
    def is_compared(self) -> bool:
        """True if any stage was compared, or both refuse the case."""
        return self.is_refused or any(stage.status is not DriftStatus.NOT_COMPARED for stage in self.stages)


@dataclass(frozen=True)
class EnvironmentDrift:
    """The references of two environments on all cases that both ran."""

    left: EnvironmentReferences
    right: EnvironmentReferences
    cases: tuple[CaseDrift, ...]

    @property
    def drifting_cases(self) -> tuple[CaseDrift, ...]:
        """The cases that drift at any stage."""
        return tuple(case for case in self.cases if case.first)

    @property
    def compared(self) -> int:
        """The number of cases that were compared."""
        return sum(case.is_compared for case in self.cases)

    @property
    def table(self) -> dict[str, dict[Stage, Counter[DriftStatus]]]:
        """The number of cases of each status, by model and stage."""
        counts: dict[str, dict[Stage, Counter[DriftStatus]]] = {}
        for case in self.cases:
            row = counts.setdefault(case.model, {stage: Counter() for stage in Stage})
            for drift in case.stages:
                row[drift.stage][drift.status] += 1
        return counts

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        between = f"between transformers {self.left.label} and {self.right.label}"
        if not self.compared:
            return f"Nothing to compare {between}: no case has an output of both."
        count = f"{self.compared} case{'' if self.compared == 1 else 's'}"
        if not self.drifting_cases:
            return f"No drift in {count} {between}."
        firsts = {case.first.stage for case in self.drifting_cases if case.first}
        first = next(stage for stage in Stage if stage in firsts)
        return f"Drift in {len(self.drifting_cases)} of {count} {between}; first at {first}."


_NUMBER = re.compile(r"[0-9]{1,9}")
SINGLE_ENVIRONMENT = "One environment only: no other version of transformers to compare its references with."


def find_drifts(shards: Iterable[ShardEntry]) -> tuple[EnvironmentDrift, ...]:
    """Compare the references of every pair of environments of a run."""
    return tuple(
        _compare_environments(left, right) for left, right in combinations(_collect_references(shards), 2)
    )


def format_drifts(drifts: tuple[EnvironmentDrift, ...]) -> list[str]:
    """Return a sentence for each pair of environments, or one that there is a single environment."""
    return [drift.headline for drift in drifts] or [SINGLE_ENVIRONMENT]


def find_case_drift(drifts: tuple[EnvironmentDrift, ...], shard: str, model: str, case: str) -> Iterator[str]:
    """Yield a sentence for each other environment: its reference against the reference of this shard."""
    for drift in drifts:
        if shard not in drift.left.shards + drift.right.shards:
            continue
        other = drift.right if shard in drift.left.shards else drift.left
        for case_drift in drift.cases:
            if (case_drift.model, case_drift.case) != (model, case) or not case_drift.is_compared:
                continue
            result = f"differs from it at {case_drift.first.stage}" if case_drift.first else "agrees with it"
            yield f"transformers {other.label} {result}"


def _collect_references(shards: Iterable[ShardEntry]) -> list[EnvironmentReferences]:
    """Group the references by environment without its settings, the oldest version of transformers first.

    Those that did not run are left out: they state the dtype of the engine, not that of a reference.
    """
    by_environment: dict[str, EnvironmentReferences] = {}
    for shard in shards:
        for entry in shard.verdicts:
            trace = entry.verdict.reference
            if trace.outcome is Outcome.UNSUPPORTED:
                continue
            environment = trace.environment.model_copy(update={"settings": {}, "workarounds": ()})
            key = environment.model_dump_json()
            known = by_environment.get(key, EnvironmentReferences(environment, (), {}))
            parts = ("traces", trace.model, REFERENCE_FOLDER, trace.case, SKETCH_FILE)
            sketch = find_file(shard.folder, *parts)
            reference = ReferenceTrace(trace, sketch.parent if sketch is not None else None)
            traces = {(trace.model, trace.case): reference, **known.traces}
            shard_names = tuple(dict.fromkeys((*known.shards, shard.name)))
            by_environment[key] = EnvironmentReferences(environment, shard_names, traces)
    return sorted(by_environment.values(), key=lambda each: [int(n) for n in _NUMBER.findall(each.version)])


def _compare_environments(left: EnvironmentReferences, right: EnvironmentReferences) -> EnvironmentDrift:
    shared = [key for key in left.traces if key in right.traces]
    return EnvironmentDrift(
        left, right, tuple(_compare_case(key, left.traces[key], right.traces[key]) for key in sorted(shared))
    )


def _compare_case(key: tuple[str, str], left: ReferenceTrace, right: ReferenceTrace) -> CaseDrift:
    is_refused = left.trace.outcome is right.trace.outcome is Outcome.REFUSED
    return CaseDrift(*key, compare_reference_traces(left, right), is_refused)
