"""The references of a run's environments, beside each other: transformers against itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from vlm_parity.drift.compare import ReferenceTrace, compare_reference_traces
from vlm_parity.drift.stages import DriftStatus, StageDrift
from vlm_parity.schema.run_layout import REFERENCE_FOLDER
from vlm_parity.schema.trace import Environment, Outcome, Stage

if TYPE_CHECKING:
    from vlm_parity.report.entries import ShardEntry


@dataclass(frozen=True)
class EnvironmentReferences:
    """The references that were made in one environment."""

    environment: Environment
    shards: tuple[str, ...]
    kept: dict[tuple[str, str], ReferenceTrace]
    """By model and case."""

    @property
    def version(self) -> str:
        """The version of transformers."""
        return self.environment.packages.get("transformers", "of unknown version")

    @property
    def label(self) -> str:
        """The version, and the parts that it belongs to."""
        return f"{self.version} ({', '.join(self.shards)})"


@dataclass(frozen=True)
class CaseDrift:
    """Two references of one case, stage by stage."""

    model: str
    case: str
    stages: tuple[StageDrift, ...]
    refused: bool
    """Whether both refuse it, which is agreement too."""

    @property
    def first(self) -> StageDrift | None:
        """Where they part ways first."""
        return next((each for each in self.stages if each.status is DriftStatus.DRIFT), None)

    @property
    def compared(self) -> bool:
        """Whether anything was."""
        return self.refused or any(each.status is not DriftStatus.NOT_COMPARED for each in self.stages)


@dataclass(frozen=True)
class EnvironmentDrift:
    """The references of two environments on all cases that both were asked."""

    left: EnvironmentReferences
    right: EnvironmentReferences
    cases: tuple[CaseDrift, ...]

    @property
    def drifting(self) -> tuple[CaseDrift, ...]:
        """The cases on which they part ways."""
        return tuple(case for case in self.cases if case.first)

    @property
    def compared(self) -> int:
        """How many cases were compared."""
        return sum(case.compared for case in self.cases)

    @property
    def table(self) -> dict[str, dict[Stage, Counter[DriftStatus]]]:
        """How often each status occurs, by model and stage."""
        found: dict[str, dict[Stage, Counter[DriftStatus]]] = {}
        for case in self.cases:
            row = found.setdefault(case.model, {stage: Counter() for stage in Stage})
            for each in case.stages:
                row[each.stage][each.status] += 1
        return found

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        between = f"between transformers {self.left.label} and {self.right.label}"
        if not self.compared:
            return f"Nothing to compare {between}: no case was asked of both and answered by both."
        count = f"{self.compared} case{'' if self.compared == 1 else 's'}"
        if not self.drifting:
            return f"No drift in {count} {between}."
        firsts = {case.first.stage for case in self.drifting if case.first}
        first = next(stage for stage in Stage if stage in firsts)
        return f"Drift in {len(self.drifting)} of {count} {between}; first at {first}."


SINGLE_ENVIRONMENT = "One environment only: there is no other transformers to compare its references with."


def find_drifts(shards: Iterable[ShardEntry]) -> tuple[EnvironmentDrift, ...]:
    """Compares the references of every two environments of a run."""
    return tuple(
        _compare_environments(left, right) for left, right in combinations(_collect_references(shards), 2)
    )


def format_drifts(drifts: tuple[EnvironmentDrift, ...]) -> list[str]:
    """One sentence for every two environments, or that there are no two."""
    return [drift.headline for drift in drifts] or [SINGLE_ENVIRONMENT]


def find_case_drift(drifts: tuple[EnvironmentDrift, ...], shard: str, model: str, case: str) -> Iterator[str]:
    """What the references of other environments say of the one that a verdict was held against."""
    for drift in drifts:
        if shard not in drift.left.shards + drift.right.shards:
            continue
        other = drift.right if shard in drift.left.shards else drift.left
        for found in drift.cases:
            if (found.model, found.case) != (model, case) or not found.compared:
                continue
            said = f"parts ways with it at {found.first.stage}" if found.first else "agrees with it"
            yield f"transformers {other.label} {said}"


def _collect_references(shards: Iterable[ShardEntry]) -> list[EnvironmentReferences]:
    """The references by environment, the oldest transformers first; its settings are left aside."""
    found: dict[str, EnvironmentReferences] = {}
    for shard in shards:
        for filed in shard.verdicts:
            trace = filed.verdict.reference
            place = trace.environment.model_copy(update={"settings": {}, "workarounds": ()})
            key = place.model_dump_json()
            mine = found.get(key, EnvironmentReferences(place, (), {}))
            folder = shard.folder / "traces" / trace.model / REFERENCE_FOLDER / trace.case
            kept = {(trace.model, trace.case): ReferenceTrace(trace, folder), **mine.kept}
            found[key] = EnvironmentReferences(place, tuple(dict.fromkeys((*mine.shards, shard.name))), kept)
    return sorted(found.values(), key=lambda each: [int(n) for n in re.findall(r"\d+", each.version)])


def _compare_environments(left: EnvironmentReferences, right: EnvironmentReferences) -> EnvironmentDrift:
    shared = [key for key in left.kept if key in right.kept]
    return EnvironmentDrift(
        left, right, tuple(_compare_case(key, left.kept[key], right.kept[key]) for key in sorted(shared))
    )


def _compare_case(key: tuple[str, str], left: ReferenceTrace, right: ReferenceTrace) -> CaseDrift:
    refused = left.trace.outcome is right.trace.outcome is Outcome.REFUSED
    return CaseDrift(*key, compare_reference_traces(left, right), refused)
