"""Comparison of two run folders: the changes, the environments beside them, and JSON of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlm_parity.changes.classify import Change, ChangeClass, compare_verdicts
from vlm_parity.changes.comparison import Identity
from vlm_parity.changes.environments import EnvironmentChange, list_environment_changes
from vlm_parity.changes.gate import GateResult, decide_gate
from vlm_parity.changes.groups import format_counts
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.summary import list_run_problems
from vlm_parity.schema.run import Shard
from vlm_parity.schema.verdict import Verdict

CHANGES_SCHEMA = 1
CHECKPOINT_NOTE = "Records hold no digest of a checkpoint: models are compared by name and source."


@dataclass(frozen=True)
class RunComparison:
    """A run and its baseline."""

    baseline: LoadedRun
    run: LoadedRun
    factor: float
    """A distance that grows or shrinks beyond it is another size."""
    changes: tuple[Change, ...]
    environment: tuple[EnvironmentChange, ...]

    @property
    def is_worse(self) -> bool:
        """True if a comparison is worse than in the baseline, or the run is incomplete."""
        return any(change.is_worse for change in self.changes) or bool(self.problems)

    @property
    def problems(self) -> list[str]:
        """The reasons why the run is incomplete or unreadable."""
        return list_run_problems(self.run)

    @property
    def baseline_problems(self) -> list[str]:
        """The same of the baseline."""
        return list_run_problems(self.baseline)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        total = len(self.changes)
        counts = format_counts(self.changes)
        worse = sum(change.is_worse for change in self.changes)
        comparisons = "comparison" if total == 1 else "comparisons"
        result = f"{worse or 'none'} of them worse than in the baseline"
        suffix = "; the run has problems" if self.problems else ""
        if not total:
            return f"Neither run holds a comparison{suffix}."
        return f"{total} {comparisons}: {counts}; {result}{suffix}."


def compare_runs(baseline: LoadedRun, run: LoadedRun, factor: float) -> RunComparison:
    """Compare a run with its baseline.

    Findings of the fuzzer that only the baseline holds are left out: not finding them again is no loss.
    """
    after = [entry.verdict for entry in run.verdicts]
    before = _drop_lone_findings(baseline, after)
    return RunComparison(
        baseline,
        run,
        factor,
        compare_verdicts(before, after, factor),
        list_environment_changes(before, after, _list_records(baseline), _list_records(run)),
    )


def gate_run(comparison: RunComparison) -> GateResult:
    """Apply the policy of the gate to a run and its baseline."""
    return decide_gate(comparison.changes, comparison.problems, comparison.baseline_problems)


def build_comparison_json(comparison: RunComparison) -> dict[str, Any]:
    """Build the JSON of a comparison; unchanged comparisons are counted and not listed."""
    counts = Counter(change.kind for change in comparison.changes)
    return {
        "schema": CHANGES_SCHEMA,
        "run": _describe_run(comparison.run),
        "baseline": _describe_run(comparison.baseline),
        "factor": comparison.factor,
        "checkpoints": CHECKPOINT_NOTE,
        "worse": comparison.is_worse,
        "sentence": comparison.sentence,
        "counts": {"all": len(comparison.changes), **{kind: counts[kind] for kind in ChangeClass}},
        "environment": [
            {"name": each.name, "baseline": each.baseline, "run": each.run, "places": list(each.places)}
            for each in comparison.environment
        ],
        "changes": [
            _describe_change(change)
            for change in comparison.changes
            if change.kind is not ChangeClass.UNCHANGED or change.remarks
        ],
    }


def build_gate_json(comparison: RunComparison, result: GateResult) -> dict[str, Any]:
    """Build the JSON of a gate: its decision, its reasons, and the comparison."""
    return {
        "schema": CHANGES_SCHEMA,
        "passes": result.passes,
        "sentence": result.sentence,
        "reasons": [
            {
                "level": reason.level,
                "rule": reason.rule,
                "text": reason.text,
                "comparisons": [change.title for change in reason.changes],
            }
            for reason in result.reasons
        ],
        "comparison": build_comparison_json(comparison),
    }


def _drop_lone_findings(baseline: LoadedRun, after: Iterable[Verdict]) -> list[Verdict]:
    found_again = {Identity.of(verdict) for verdict in after}
    findings = {
        (shard.name, finding.model, finding.backend, finding.case)
        for shard in baseline.shards
        for finding in (shard.fuzz.findings if shard.fuzz is not None else ())
    }
    return [
        entry.verdict
        for entry in baseline.verdicts
        if (entry.shard, entry.verdict.model, entry.verdict.backend, entry.verdict.case) not in findings
        or Identity.of(entry.verdict) in found_again
    ]


def _list_records(run: LoadedRun) -> Iterable[Shard]:
    return [shard.record for shard in run.shards if shard.record is not None]


def _describe_run(run: LoadedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "started": run.started,
        "verdicts": len(run.verdicts),
        "problems": list_run_problems(run),
    }


def _describe_change(change: Change) -> dict[str, Any]:
    identity = Identity.of(change.verdict)
    return {
        "class": change.kind,
        "worse": change.is_worse,
        "case": identity.case,
        "case_digest": identity.case_digest,
        "model": identity.model,
        "backend": identity.backend,
        "mode": identity.mode,
        "entry_point": identity.entry_point,
        "dtype": identity.dtype,
        "device": identity.device,
        "depth": identity.depth,
        "stage": change.stage,
        "cause": change.cause,
        "details": list(change.details),
        "remarks": [{"rule": remark.rule, "text": remark.text} for remark in change.remarks],
        "baseline": _describe_verdict(change.baseline),
        "run": _describe_verdict(change.run),
    }


def _describe_verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "first_divergence": verdict.first_divergence,
        "known": verdict.known,
        "reproduce": verdict.reproduce,
    }
