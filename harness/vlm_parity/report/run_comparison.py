"""Comparison of two runs: the changes, the environments beside them, and JSON of both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from vlm_parity.changes.classify import Change, ChangeClass, list_changes
from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.environments import EnvironmentChange, list_environment_changes
from vlm_parity.changes.gate import GateResult, decide_gate
from vlm_parity.changes.groups import format_counts
from vlm_parity.changes.run_summary import RunSummary

CHANGES_SCHEMA = 2


@dataclass(frozen=True)
class RunComparison:
    """A run and its baseline."""

    baseline: RunSummary
    run: RunSummary
    factor: float
    """A distance that grows or shrinks beyond it is another size."""
    changes: tuple[Change, ...]
    environment: tuple[EnvironmentChange, ...]

    @property
    def is_worse(self) -> bool:
        """True if a comparison is worse than in the baseline, or the run is incomplete."""
        return any(change.is_worse for change in self.changes) or bool(self.run.problems)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        total = len(self.changes)
        counts = format_counts(self.changes)
        worse = sum(change.is_worse for change in self.changes)
        comparisons = "comparison" if total == 1 else "comparisons"
        result = f"{worse or 'none'} of them worse than in the baseline"
        suffix = "; the run has problems" if self.run.problems else ""
        if not total:
            return f"Neither run holds a comparison{suffix}."
        return f"{total} {comparisons}: {counts}; {result}{suffix}."


def compare_runs(baseline: RunSummary, run: RunSummary, factor: float) -> RunComparison:
    """Compare a run with its baseline.

    Findings of the fuzzer that only the baseline holds are left out: not finding them again is no loss.
    """
    return RunComparison(
        baseline,
        run,
        factor,
        list_changes(_drop_lone_findings(baseline, run), run.comparisons, factor),
        list_environment_changes(baseline, run),
    )


def gate_run(comparison: RunComparison) -> GateResult:
    """Apply the policy of the gate to a run and its baseline."""
    return decide_gate(comparison.changes, comparison.run.problems, comparison.baseline.problems)


def build_comparison_json(comparison: RunComparison) -> dict[str, Any]:
    """Build the JSON of a comparison; unchanged comparisons are counted and not listed."""
    counts = Counter(change.kind for change in comparison.changes)
    return {
        "schema": CHANGES_SCHEMA,
        "run": _describe_run(comparison.run),
        "baseline": _describe_run(comparison.baseline),
        "factor": comparison.factor,
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


def _drop_lone_findings(baseline: RunSummary, run: RunSummary) -> list[Comparison]:
    found_again = {comparison.identity for comparison in run.comparisons}
    return [each for each in baseline.comparisons if not each.is_finding or each.identity in found_again]


def _describe_run(run: RunSummary) -> dict[str, Any]:
    return {
        "name": run.name,
        "release": run.release,
        "origin": run.origin,
        "started": run.started,
        "verdicts": len(run.comparisons),
        "problems": list(run.problems),
    }


def _describe_change(change: Change) -> dict[str, Any]:
    identity = change.comparison.identity
    return {
        "class": change.kind,
        "worse": change.is_worse,
        "case": identity.case,
        "case_digest": identity.case_digest,
        "model": identity.model,
        "checkpoint": identity.checkpoint,
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
        "baseline": _describe_result(change.baseline),
        "run": _describe_result(change.run),
    }


def _describe_result(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "verdict": comparison.kind,
        "reason": comparison.reason,
        "first_divergence": comparison.first_divergence,
        "known": comparison.known,
        "reproduce": comparison.reproduce,
    }
