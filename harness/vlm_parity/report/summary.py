"""Counts of a run, its result in a sentence, and ``report.json``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vlm_parity.report.drifts import EnvironmentDrift
from vlm_parity.report.entries import ShardEntry, VerdictEntry, list_stages
from vlm_parity.report.load_run import SEVERITY_ORDER, LoadedRun
from vlm_parity.report.severity import measure_severity
from vlm_parity.schema.record import compute_digest
from vlm_parity.schema.trace import Environment, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind

REPORT_SCHEMA = 2
INDEX_FILE = "index.html"

_HEADLINE_KINDS = (
    VerdictKind.HARNESS_ERROR,
    VerdictKind.CRASH,
    VerdictKind.ERROR,
    VerdictKind.INVALID,
    VerdictKind.UNSTABLE,
    VerdictKind.FIXED,
)
"""The kinds that the headline counts in addition to mismatches."""
_MAX_RETRIES = 10
"""Comparisons that were run again after a failure, of which each has a remark."""


@dataclass(frozen=True)
class VerdictCounts:
    """Counts of a set of verdicts."""

    kinds: Counter[VerdictKind]
    stages: Counter[DiffStatus]
    """Adds up to all stages of all verdicts: match + mismatch + not compared."""
    first_divergence: Stage | None
    """The earliest stage, in data-flow order, at which one of the verdicts diverges."""

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> VerdictCounts:
        """Count a set of verdicts."""
        verdicts = list(verdicts)
        divergent = {verdict.first_divergence for verdict in verdicts}
        return cls(
            kinds=Counter(verdict.kind for verdict in verdicts),
            stages=Counter(diff.status for verdict in verdicts for diff in list_stages(verdict)),
            first_divergence=next((stage for stage in Stage if stage in divergent), None),
        )

    @property
    def worst_first(self) -> list[tuple[VerdictKind, int]]:
        """The kinds that occur, the worst first, with their counts."""
        return [(kind, self.kinds[kind]) for kind in SEVERITY_ORDER if self.kinds[kind]]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as in ``report.json``: of every kind and every status, also if zero."""
        return {
            "verdicts": {"all": self.kinds.total(), **{kind: self.kinds[kind] for kind in VerdictKind}},
            "stages": {"all": self.stages.total(), **{status: self.stages[status] for status in DiffStatus}},
            "first_divergence": self.first_divergence,
        }


def build_count_cells(run: LoadedRun) -> dict[tuple[str, str], VerdictCounts]:
    """Return the counts by model and label: the backend with its mode and entry point."""
    cells: dict[tuple[str, str], list[Verdict]] = {}
    for entry in run.verdicts:
        cells.setdefault((entry.verdict.model, entry.verdict.label), []).append(entry.verdict)
    return {cell: VerdictCounts.of(cells[cell]) for cell in sorted(cells)}


def format_headline(run: LoadedRun) -> str:
    """Format the result as a sentence."""
    total = len(run.verdicts)
    if not total:
        examples = sum(shard.record.examples for shard in run.shards if shard.record)
        return f"None of {examples:,} fuzzed examples differs" if examples else "Nothing was compared"
    counts = VerdictCounts.of(entry.verdict for entry in run.verdicts)
    known = counts.kinds[VerdictKind.KNOWN]
    differing = counts.kinds[VerdictKind.MISMATCH] + counts.kinds[VerdictKind.UNSTABLE] + known
    sentence = f"{differing or 'None'} of {total} comparisons differ{'' if differing > 1 else 's'}"
    if known:
        sentence += f", {'all' if known == differing else known} of them known"
    new = [entry.verdict for entry in run.verdicts if entry.verdict.kind is not VerdictKind.KNOWN]
    first = VerdictCounts.of(new).first_divergence
    details = [f"first {'new one ' if known else ''}at {first}"] if first else []
    details += [f"{counts.kinds[kind]} {kind}" for kind in _HEADLINE_KINDS if counts.kinds[kind]]
    return "; ".join([sentence, *details])


def list_remarks(run: LoadedRun) -> list[str]:
    """List remarks that do not affect the result."""
    uses: Counter[str] = Counter()
    for shard in run.shards:
        uses.update(shard.record.known_issues if shard.record else {})
    retried = [entry for entry in run.verdicts if entry.verdict.attempts]
    remarks = [f"Run again: {entry.title}: {entry.verdict.passes_note}." for entry in retried]
    return [
        *remarks[:_MAX_RETRIES],
        *([f"{len(remarks) - _MAX_RETRIES} more were run again."] if len(remarks) > _MAX_RETRIES else []),
        *(
            f"Known issue {name} applied to no comparison: check its versions, cases and models."
            for name, count in uses.items()
            if not count
        ),
    ]


def list_run_problems(run: LoadedRun) -> list[str]:
    """List the reasons, other than verdicts, why the run does not pass."""
    return [
        *(f"Shard {shard.name} is incomplete: {shard.incomplete_reason}." for shard in run.incomplete),
        *(f"Problem: {problem}" for problem in (*run.problems, *run.share_problems)),
    ]


def get_environment_id(environment: Environment) -> str:
    """Return a short id of an environment; equal environments have the same."""
    return compute_digest(environment.model_dump(mode="json"))[:12]


def build_report_json(run: LoadedRun) -> dict[str, Any]:
    """Build the contents of ``report.json``; docs/reference/report_json.md describes them."""
    environments = [
        drift_side.environment for drift in run.drifts for drift_side in (drift.left, drift.right)
    ]
    environments += [e for entry in run.verdicts for e in _environments(entry.verdict)]
    document = {
        "schema": REPORT_SCHEMA,
        "run": _run_json(run),
        "drift": [_drift_json(drift) for drift in run.drifts],
        "environments": {get_environment_id(e): e.model_dump(mode="json") for e in environments},
        "verdicts": [_verdict_json(entry) for entry in run.verdicts],
    }
    plain: dict[str, Any] = _finite(document)
    return plain


def _environments(verdict: Verdict) -> tuple[Environment, Environment]:
    return verdict.reference.environment, verdict.tested.environment


def _run_json(run: LoadedRun) -> dict[str, Any]:
    verdicts = [entry.verdict for entry in run.verdicts]
    setups = {v.label: {"backend": v.backend, "mode": v.mode, "entry_point": v.entry_point} for v in verdicts}
    return {
        "name": run.name,
        "started": run.started,
        "finished": run.finished,
        "passes": run.passes,
        "problems": [*run.problems, *run.share_problems],
        "remarks": list_remarks(run),
        "shards": [_shard_json(shard) for shard in run.shards],
        "counts": VerdictCounts.of(verdicts).as_json(),
        "cells": [
            {"model": model, **setups[label], **counts.as_json()}
            for (model, label), counts in build_count_cells(run).items()
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
        "lock": record.lock.model_dump(mode="json") if record and record.lock else None,
        "share": record.share.model_dump(mode="json") if record and record.share else None,
    }


def _verdict_json(entry: VerdictEntry) -> dict[str, Any]:
    verdict = entry.verdict
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
        "attempts": [attempt.model_dump(mode="json") for attempt in verdict.attempts],
        "repetitions": [repetition.model_dump(mode="json") for repetition in verdict.repetitions],
        "passes_note": verdict.passes_note,
        "first_divergence": verdict.first_divergence,
        "known": verdict.known,
        "severity": asdict(measure_severity(verdict)),
        "diagnoses": [diagnosis.model_dump(mode="json") for diagnosis in verdict.diagnoses],
        "locations": [each.model_dump(mode="json", exclude={"modules"}) for each in verdict.locations],
        "shard": entry.shard,
        "page": entry.page,
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
                "conditioned": _describe_conditioned(diff.conditioned),
            }
            for diff in list_stages(verdict)
        ],
    }


def _drift_json(drift: EnvironmentDrift) -> dict[str, Any]:
    return {
        "headline": drift.headline,
        **{
            side: {
                "transformers": references.version,
                "shards": list(references.shards),
                "environment": get_environment_id(references.environment),
            }
            for side, references in (("left", drift.left), ("right", drift.right))
        },
        "cases": len(drift.cases),
        "compared": drift.compared,
        "drifting": len(drift.drifting_cases),
        "details": [
            {"model": case.model, "case": case.case, "stages": [asdict(stage) for stage in case.stages]}
            for case in drift.cases
        ],
    }


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_finite(child) for child in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _describe_conditioned(diff: StageDiff | None) -> dict[str, Any] | None:
    if diff is None:
        return None
    return {
        "condition": diff.condition,
        "status": diff.status,
        "message": diff.message,
        "metrics": dict(diff.metrics),
    }
