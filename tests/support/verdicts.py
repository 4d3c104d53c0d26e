"""Handmade verdicts: differences at given stages, with causes and sizes. Nothing is compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tests.support.traces import make_failed_trace, make_trace
from vlm_parity.changes.classify import Change, list_changes
from vlm_parity.changes.comparison import Comparison
from vlm_parity.changes.policy import DEFAULT_FACTOR
from vlm_parity.changes.run_summary import RunSummary, ShardSummary
from vlm_parity.schema.trace import Environment, Outcome, Stage
from vlm_parity.schema.verdict import Diagnosis, DiffStatus, StageDiff, Verdict, VerdictKind

EXACT = (Stage.PROMPT, Stage.INPUT_IDS, Stage.SPANS, Stage.ENCODER_BUDGET, Stage.MEDIA, Stage.POSITIONS)
FAILURES = (
    VerdictKind.ERROR,
    VerdictKind.CRASH,
    VerdictKind.INVALID,
    VerdictKind.HARNESS_ERROR,
    VerdictKind.UNSUPPORTED,
)


def make_diff(stage: Stage, status: DiffStatus, limit_ratio: float) -> StageDiff:
    """Build a diff; only the stages that have a limit state a distance."""
    has_limit = stage in {Stage.VISION, Stage.PREFILL, Stage.DECODE} and status is not DiffStatus.NOT_COMPARED
    metrics: dict[str, float | int] = {"limit_ratio": limit_ratio} if has_limit else {}
    return StageDiff(stage=stage, status=status, message=str(status), metrics=metrics)


def make_verdict(
    differences: Mapping[Stage, float] | None = None,
    *,
    causes: Mapping[Stage, str] | None = None,
    not_compared: Collection[Stage] = (),
    margins: Mapping[Stage, float] | None = None,
    kind: VerdictKind | None = None,
    environment: Mapping[str, Any] | None = None,
    case_digest: str | None = None,
    **changes: Any,
) -> Verdict:
    """Build a verdict.

    Args:
        differences: limit ratios of the stages that differ, each independent of the others.
        causes: the cause at each of them that has one.
        not_compared: stages that were not compared.
        margins: limit ratios of stages that match.
        kind: by default a match or a mismatch.
        environment: fields of both environments.
        case_digest: replaces that of the case.
        changes: other fields of the verdict.
    """
    differences, causes, margins = differences or {}, causes or {}, margins or {}
    stages = tuple(
        make_diff(
            stage,
            DiffStatus.NOT_COMPARED
            if stage in not_compared
            else DiffStatus.MISMATCH
            if stage in differences
            else DiffStatus.MATCH,
            differences.get(stage, margins.get(stage, 0.01)),
        )
        for stage in Stage
    )
    names: dict[str, Any] = {
        name: changes[name] for name in ("case", "model", "mode", "depth") if name in changes
    }
    backend = changes.get("backend", "vllm")
    names |= {"environment": make_environment(**(environment or {}))}
    names |= {"case_digest": case_digest} if case_digest is not None else {}
    if kind is None:
        kind = VerdictKind.MISMATCH if differences else VerdictKind.MATCH
    first = next((diff.stage for diff in stages if diff.status is DiffStatus.MISMATCH), None)
    diagnoses = tuple(
        Diagnosis(stage=stage, cause=cause, explanation="Handmade.", confidence=1)
        for stage, cause in causes.items()
    )
    values: dict[str, Any] = {
        "case": "one_image",
        "model": "qwen2_vl",
        "backend": backend,
        "depth": "logits",
        "kind": kind,
        "first_divergence": first,
        "diagnoses": diagnoses,
        "stages": stages,
        "reference": make_trace("transformers", **names),
        "tested": make_trace(backend, **names),
        "reproduce": "parity run",
    }
    return Verdict.model_validate(values | changes)


def make_failure(kind: VerdictKind = VerdictKind.CRASH, reason: str = "signal 9", **changes: Any) -> Verdict:
    """Build a verdict without any comparison."""
    tested = make_failed_trace(Outcome(str(kind)), message=reason)
    return make_verdict(not_compared=tuple(Stage), kind=kind, reason=reason, **changes).model_copy(
        update={"tested": tested.model_copy(update={"case": changes.get("case", "one_image")})}
    )


def make_environment(**changes: Any) -> Environment:
    """Build an environment with two packages."""
    values = {
        "python": "3.11.9",
        "platform": "any",
        "device": "cpu",
        "dtype": "float32",
        "packages": {"transformers": "5.23.0", "vllm": "0.32.0"},
    }
    return Environment.model_validate(values | changes)


def compare_verdicts(
    baseline: Iterable[Verdict], run: Iterable[Verdict], factor: float = DEFAULT_FACTOR
) -> tuple[Change, ...]:
    """List the changes from some verdicts to others."""
    return list_changes(map(Comparison.of, baseline), map(Comparison.of, run), factor)


def make_shard_summary(*verdicts: Verdict, **changes: Any) -> ShardSummary:
    """Build the results of a complete shard."""
    values: dict[str, Any] = {
        "name": "vllm",
        "session": "a session",
        "started": "2026-03-01T09:00:00.000+00:00",
        "finished": "2026-03-01T09:05:00.000+00:00",
        "backends": ("vllm",),
        "comparisons": tuple(map(Comparison.of, verdicts)),
    }
    return ShardSummary(**values | changes)


def make_run_summary(index: int, *verdicts: Verdict, name: str = "", **changes: Any) -> RunSummary:
    """Build the results of a run with one shard; ``index`` is its day, from zero."""
    day = f"2026-11-{index + 1:02d}T04:00:00+00:00"
    shard = make_shard_summary(*verdicts, started=day, finished=day, **changes)
    return RunSummary(name or f"night-{index + 1}", "folder", (shard,))
