"""A run in numbers: counts, the one-sentence result, and ``report.json``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vlm_parity.report.drifts import EnvironmentDrift
from vlm_parity.report.entries import ShardEntry, VerdictEntry, list_stages
from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun
from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.trace import Environment, Stage
from vlm_parity.schema.verdict import DiffStatus, LogitEvidence, Verdict, VerdictKind

REPORT_SCHEMA = 2
INDEX_FILE = "index.html"

_HEADLINE_KINDS = (VerdictKind.CRASH, VerdictKind.ERROR, VerdictKind.INVALID, VerdictKind.FIXED)
"""The kinds beside mismatches that the headline counts."""


@dataclass(frozen=True)
class VerdictCounts:
    """What came of a set of verdicts."""

    kinds: Counter[VerdictKind]
    stages: Counter[DiffStatus]
    """Adds up to all stages of all verdicts: match + mismatch + not compared."""
    first_divergence: Stage | None
    """The earliest stage, in data-flow order, at which one of the verdicts parts ways."""

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> VerdictCounts:
        """Counts a set of verdicts."""
        every = list(verdicts)
        divergent = {verdict.first_divergence for verdict in every}
        return cls(
            kinds=Counter(verdict.kind for verdict in every),
            stages=Counter(diff.status for verdict in every for diff in list_stages(verdict)),
            first_divergence=next((stage for stage in Stage if stage in divergent), None),
        )

    @property
    def worst_first(self) -> list[tuple[VerdictKind, int]]:
        """The kinds that occur, the worst first, with their counts."""
        return [(kind, self.kinds[kind]) for kind in SEVERITY_ORDER if self.kinds[kind]]

    def as_json(self) -> dict[str, Any]:
        """As in ``report.json``: every kind and every status is there, and zero where none is."""
        return {
            "verdicts": {"all": self.kinds.total(), **{kind: self.kinds[kind] for kind in VerdictKind}},
            "stages": {"all": self.stages.total(), **{status: self.stages[status] for status in DiffStatus}},
            "first_divergence": self.first_divergence,
        }


def build_count_cells(run: LoadedRun) -> dict[tuple[str, str], VerdictCounts]:
    """The counts of each (model, backend with its variant) that has a verdict."""
    cells: dict[tuple[str, str], list[Verdict]] = {}
    for filed in run.verdicts:
        cells.setdefault((filed.verdict.model, filed.verdict.label), []).append(filed.verdict)
    return {cell: VerdictCounts.of(cells[cell]) for cell in sorted(cells)}


def format_headline(run: LoadedRun) -> str:
    """The result in a sentence."""
    total = len(run.verdicts)
    if not total:
        examples = sum(shard.record.examples for shard in run.shards if shard.record)
        return f"None of {examples:,} fuzzed examples parts ways" if examples else "Nothing was compared"
    counts = VerdictCounts.of(filed.verdict for filed in run.verdicts)
    known = counts.kinds[VerdictKind.KNOWN]
    apart = counts.kinds[VerdictKind.MISMATCH] + known
    sentence = f"{apart or 'None'} of {total} comparisons part{'' if apart > 1 else 's'} ways"
    if known:
        sentence += f", {'all' if known == apart else known} of them known"
    new = [filed.verdict for filed in run.verdicts if filed.verdict.kind is not VerdictKind.KNOWN]
    first = VerdictCounts.of(new).first_divergence
    told = [f"first {'new one ' if known else ''}at {first}"] if first else []
    told += [f"{counts.kinds[kind]} {kind}" for kind in _HEADLINE_KINDS if counts.kinds[kind]]
    return "; ".join([sentence, *told])


def list_remarks(run: LoadedRun) -> list[str]:
    """What is worth knowing and keeps nothing from passing."""
    fitted: Counter[str] = Counter()
    for shard in run.shards:
        fitted.update(shard.record.known_issues if shard.record else {})
    return [
        f"The ledger's entry {name} fitted nothing: other versions, cases or models now?"
        for name, count in fitted.items()
        if not count
    ]


def list_skip_reasons(run: LoadedRun) -> list[str]:
    """Everything besides the verdicts themselves that keeps the run from passing."""
    return [f"Part {shard.name} is incomplete: {shard.incomplete_reason}." for shard in run.incomplete] + [
        f"Problem: {problem}" for problem in run.problems
    ]


def get_largest_max_abs(verdict: Verdict) -> tuple[Stage, float] | None:
    """The largest difference of log-probabilities, and the stage it is at; not a number is largest."""
    found = [
        (diff.stage, value)
        for diff in verdict.stages
        if isinstance(diff.evidence, LogitEvidence)
        for value in diff.evidence.max_abs
    ]
    return max(found, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1], default=None)


def get_environment_id(environment: Environment) -> str:
    """A short name for an environment, the same for equal ones."""
    return compute_digest(environment.model_dump(mode="json"))[:12]


def build_report_json(run: LoadedRun) -> dict[str, Any]:
    """The run as one JSON-like document; docs/report-json.md describes it."""
    environments = [
        drift_side.environment for drift in run.drifts for drift_side in (drift.left, drift.right)
    ]
    environments += [e for filed in run.verdicts for e in _environments(filed.verdict)]
    document = {
        "schema": REPORT_SCHEMA,
        "run": _run_json(run),
        "drift": [_drift_json(drift) for drift in run.drifts],
        "environments": {get_environment_id(e): e.model_dump(mode="json") for e in environments},
        "verdicts": [_verdict_json(filed) for filed in run.verdicts],
    }
    plain: dict[str, Any] = _finite(document)
    return plain


def _environments(verdict: Verdict) -> tuple[Environment, Environment]:
    return verdict.reference.environment, verdict.tested.environment


def _run_json(run: LoadedRun) -> dict[str, Any]:
    verdicts = [filed.verdict for filed in run.verdicts]
    setups = {v.label: {"backend": v.backend, "mode": v.mode, "entry_point": v.entry_point} for v in verdicts}
    return {
        "name": run.name,
        "started": run.started,
        "finished": run.finished,
        "passes": run.passes,
        "problems": list(run.problems),
        "remarks": list_remarks(run),
        "shards": [_shard_json(shard) for shard in run.shards],
        "counts": VerdictCounts.of(verdicts).as_json(),
        "cells": [
            {"model": model, **setups[way], **counts.as_json()}
            for (model, way), counts in build_count_cells(run).items()
        ],
    }


def _shard_json(shard: ShardEntry) -> dict[str, Any]:
    record = shard.record
    return {
        "name": shard.name,
        "complete": not shard.incomplete_reason,
        "incomplete_reason": shard.incomplete_reason,
        "verdicts": len(shard.verdicts),
        "expected": record.expected if record else None,
        "started": record.started if record else None,
        "finished": record.finished if record else None,
        "command": record.command if record else None,
        "seconds": dict(record.seconds) if record else {},
    }


def _verdict_json(filed: VerdictEntry) -> dict[str, Any]:
    verdict = filed.verdict
    reference, tested = _environments(verdict)
    return {
        "case": verdict.case,
        "model": verdict.model,
        "backend": verdict.backend,
        "mode": verdict.mode,
        "entry_point": verdict.entry_point,
        "mode_note": verdict.tested.mode_note,
        "depth": verdict.depth,
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "first_divergence": verdict.first_divergence,
        "known": verdict.known,
        "diagnoses": [diagnosis.model_dump(mode="json") for diagnosis in verdict.diagnoses],
        "shard": filed.shard,
        "page": filed.page,
        "reproduce": verdict.reproduce,
        "reference_environment": get_environment_id(reference),
        "backend_environment": get_environment_id(tested),
        "stages": [
            {
                "stage": diff.stage,
                "status": diff.status,
                "consequence": diff.consequence,
                "message": diff.message,
                "metrics": dict(diff.metrics),
            }
            for diff in list_stages(verdict)
        ],
    }


def _drift_json(drift: EnvironmentDrift) -> dict[str, Any]:
    return {
        "headline": drift.headline,
        **{
            side: {
                "transformers": found.version,
                "shards": list(found.shards),
                "environment": get_environment_id(found.environment),
            }
            for side, found in (("left", drift.left), ("right", drift.right))
        },
        "cases": len(drift.cases),
        "compared": drift.compared,
        "drifting": len(drift.drifting),
        "details": [
            {"model": case.model, "case": case.case, "stages": [asdict(each) for each in case.stages]}
            for case in drift.cases
        ],
    }


def _finite(value: Any) -> Any:
    """JSON has no infinities: they become the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_finite(child) for child in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
