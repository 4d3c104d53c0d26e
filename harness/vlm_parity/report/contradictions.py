"""Contradictions within a verdict.

A run folder may come from another machine, be edited or damaged, so the report believes no record that
contradicts itself. Each rule yields a phrase for each contradiction: "is a match with a stage that
mismatches". A run with a contradiction does not pass. A new verdict kind needs no rule, unless it passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from vlm_parity.backends.registry import REFERENCE_BACKEND
from vlm_parity.report.entries import count_compared_stages
from vlm_parity.schema.data_flow import GIVEN
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.repetition import is_unstable
from vlm_parity.schema.trace import RECORD_FIELDS, TRACE_SCHEMA, Outcome, Stage, Trace
from vlm_parity.schema.verdict import (
    DiffStatus,
    LogitEvidence,
    SequenceEvidence,
    StageDiff,
    Verdict,
    VerdictKind,
)
from vlm_parity.verdicts.conditioned import find_unjudged
from vlm_parity.verdicts.decide import mark_consequences
from vlm_parity.verdicts.trace_checks import find_span_problem, list_unstated_stages

_TESTED_OUTCOMES = {
    VerdictKind.MATCH: {Outcome.CAPTURED},
    VerdictKind.MISMATCH: {Outcome.CAPTURED},
    VerdictKind.UNSTABLE: {Outcome.CAPTURED},
    VerdictKind.KNOWN: {Outcome.CAPTURED, Outcome.REFUSED, Outcome.ERROR, Outcome.CRASH},
    VerdictKind.FIXED: {Outcome.CAPTURED, Outcome.REFUSED},
    VerdictKind.UNSUPPORTED: {Outcome.UNSUPPORTED},
    VerdictKind.REFUSED: {Outcome.REFUSED},
    VerdictKind.CRASH: {Outcome.CRASH},
}
"""The outcomes of the backend under test that allow a verdict kind; any outcome allows the other kinds."""
REFERENCES = frozenset({REFERENCE_BACKEND})
"""The backends that a verdict may have as its reference."""
_ZERO_METRICS = (
    "different",
    "decode_different",
    "items_different",
    "over_limit",
    "over_bound",
    "reference_not_finite",
)
"""Metrics that are 0 at a stage that matches, except that values of media may differ within a bound."""
_EQUAL_METRICS = (("reference_length", "tested_length"), ("encoder_budget", "actual"))
_EXACT_FIELDS = (Stage.PROMPT, Stage.INPUT_IDS, Stage.SPANS)
"""Stages that match only if the fields of both records are equal."""


def find_contradictions(verdict: Verdict) -> Iterator[str]:
    """Yield the contradictions within a verdict."""
    for rule in RULES:
        yield from rule(verdict)


def check_versions(verdict: Verdict) -> Iterator[str]:
    """Check the schema versions of the traces, which are read as a part of the verdict."""
    for side, trace in _list_sides(verdict):
        if trace.schema_version != TRACE_SCHEMA:
            yield f"holds a trace of {side} of schema version {trace.schema_version}, not {TRACE_SCHEMA}"


def check_sides(verdict: Verdict) -> Iterator[str]:
    """Check that both traces are of the case, the model and the setup of the verdict."""
    tested, reference = verdict.tested, verdict.reference
    for field in ("case", "model", "backend", "mode", "entry_point", "depth"):
        if getattr(tested, field) != getattr(verdict, field):
            yield f"holds a trace of another {field.replace('_', ' ')}: {getattr(tested, field)!r}"
    for field in ("case", "model"):
        if getattr(reference, field) != getattr(verdict, field):
            yield f"holds a reference of another {field}: {getattr(reference, field)!r}"
    if reference.backend not in REFERENCES:
        yield f"has {reference.backend!r} as the reference"
    if reference.case_digest != tested.case_digest:
        yield "compares two different cases of that name"


def check_stages(verdict: Verdict) -> Iterator[str]:
    """Check that every stage occurs once and in order, and that one that was not compared has a reason."""
    if tuple(diff.stage for diff in verdict.stages) != tuple(Stage):
        yield "does not hold every stage once, in order"
    for diff in verdict.stages:
        if diff.status is DiffStatus.NOT_COMPARED and not diff.message:
            yield f"did not compare {diff.stage} and states no reason"


def check_first_divergence(verdict: Verdict) -> Iterator[str]:
    """Check that the first divergence is the first stage that differs, and which differences may follow."""
    differing = [diff for diff in verdict.stages if diff.status is DiffStatus.MISMATCH]
    first = differing[0].stage if differing else None
    if verdict.first_divergence != first:
        yield f"names {verdict.first_divergence} as the first stage that differs, instead of {first}"
    if {diff.stage for diff in verdict.stages} != set(Stage):
        return  # check_stages says so
    for diff, marked in zip(verdict.stages, mark_consequences(verdict.stages), strict=True):
        if diff.consequence != marked.consequence:
            yield f"{'marks' if diff.consequence else 'does not mark'} {diff.stage} as a consequence"
    unjudged = find_unjudged(verdict)
    for diff in verdict.stages:
        given = diff.conditioned
        if given is None:
            continue
        if diff.stage not in unjudged or given.condition is None or diff.stage in GIVEN[given.condition]:
            yield f"compares {diff.stage} on given values, although no earlier difference reaches it"
        if given.stage is not diff.stage:
            yield f"compares {given.stage} on given values in the place of {diff.stage}"


def check_outcomes(verdict: Verdict) -> Iterator[str]:
    """Check the kind against the outcomes of both sides."""
    kind, reference, tested = verdict.kind, verdict.reference.outcome, verdict.tested.outcome
    if kind.passes and Outcome.HARNESS_ERROR in {reference, tested}:
        yield f"is {kind}, but the harness failed while capturing a side"
    if tested not in _TESTED_OUTCOMES.get(kind, set(Outcome)):
        yield f"is {kind}, but the outcome of {verdict.backend} is {tested}"
    both_refuse = reference is tested is Outcome.REFUSED
    if kind is VerdictKind.KNOWN and both_refuse:
        yield "is known, but both sides refuse the case"
    if kind in {VerdictKind.REFUSED, VerdictKind.FIXED} and tested is Outcome.REFUSED and not both_refuse:
        yield f"is {kind}, but the outcome of the reference is {reference}"
    needs_reference = kind in {VerdictKind.MATCH, VerdictKind.FIXED, VerdictKind.MISMATCH, VerdictKind.KNOWN}
    refuses = reference is Outcome.REFUSED and kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}
    if needs_reference and tested is Outcome.CAPTURED and reference is not Outcome.CAPTURED and not refuses:
        yield f"is {kind}, but the outcome of the reference is {reference}"


def check_kind(verdict: Verdict) -> Iterator[str]:
    """Check the kind against the stages."""
    kind, compared = verdict.kind, count_compared_stages(verdict)
    differs = any(diff.status is DiffStatus.MISMATCH for diff in verdict.stages)
    shows_nothing = kind.passes and kind is not VerdictKind.KNOWN
    if differs and (shows_nothing or kind is VerdictKind.FIXED):
        yield f"is {_describe(kind)} with a stage that mismatches"
    if kind in {VerdictKind.MATCH, VerdictKind.FIXED} and not compared and not _both_refuse(verdict):
        yield f"is {_describe(kind)} without a compared stage"
    if kind is VerdictKind.REFUSED and compared:
        yield "is refused with a compared stage"
    is_captured = verdict.reference.outcome is verdict.tested.outcome is Outcome.CAPTURED
    if kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN} and is_captured and not differs:
        yield f"is {_describe(kind)} without a stage that mismatches"


def check_repetitions(verdict: Verdict) -> Iterator[str]:
    """Check the kind against the repeated passes: what comes and goes neither matches nor repeats."""
    first, repetitions = verdict.first_divergence, verdict.repetitions
    if repetitions and first is None:
        yield "repeats a case that does not differ"
        return
    comes_and_goes = first is not None and is_unstable(first, repetitions)
    if comes_and_goes and verdict.kind in {VerdictKind.MISMATCH, VerdictKind.KNOWN}:
        yield f"is {_describe(verdict.kind)}, but a repeated pass differs elsewhere or not at all"
    if verdict.kind is VerdictKind.UNSTABLE and not comes_and_goes:
        yield "is unstable, but all passes differ first at the same stage"


def check_texts(verdict: Verdict) -> Iterator[str]:
    """Check the texts that only some kinds have."""
    is_listed = verdict.kind in {VerdictKind.KNOWN, VerdictKind.FIXED}
    if is_listed and not verdict.known:
        yield f"is {verdict.kind}, but names no known issue"
    if verdict.known and not is_listed:
        yield f"is {verdict.kind}, but names a known issue"
    if verdict.kind is VerdictKind.MATCH and verdict.reason:
        yield "is a match, but states a reason"


def check_missing_stages(verdict: Verdict) -> Iterator[str]:
    """Check that a trace behind a verdict that passes states why it lacks a stage."""
    for side, trace in _list_sides(verdict):
        if verdict.kind.passes and trace.outcome is Outcome.CAPTURED:
            for stage in list_unstated_stages(trace, verdict.depth):
                yield f"has a trace of {side} that lacks {stage} and states no reason"


def check_captured_stages(verdict: Verdict) -> Iterator[str]:
    """Check that each compared stage is in both traces, and that the depth includes it."""
    for diff in verdict.stages:
        if diff.status is DiffStatus.NOT_COMPARED:
            continue
        if diff.stage.depth is Depth.LOGITS and verdict.depth is Depth.TOKENS:
            yield f"compares {diff.stage} at the depth {verdict.depth}"
        for side, trace in _list_sides(verdict):
            # The reference has no encoder budget; its spans are compared with that of the engine.
            is_budget = diff.stage is Stage.ENCODER_BUDGET and trace is verdict.reference
            stage = Stage.SPANS if is_budget else diff.stage
            if stage in trace.not_captured or not _holds_stage(trace, stage):
                yield f"compares {diff.stage}, which the trace of {side} lacks"


def check_matches(verdict: Verdict) -> Iterator[str]:
    """Check the numbers and the records behind the stages that match, unless the verdict fails anyway."""
    if not verdict.kind.passes:
        return
    for diff in verdict.stages:
        if diff.conditioned is not None and diff.conditioned.status is DiffStatus.MATCH:
            problems = _check_match(diff.conditioned)
            yield from (f"has a match at {diff.stage} on given values with {problem}" for problem in problems)
        if diff.status is DiffStatus.MATCH:
            yield from (f"has a match at {diff.stage} with {problem}" for problem in _check_match(diff))
            field = RECORD_FIELDS.get(diff.stage, "")
            if diff.stage in _EXACT_FIELDS and getattr(verdict.reference, field) != getattr(
                verdict.tested, field
            ):
                yield f"has a match at {diff.stage}, which differs between the traces"


def check_spans(verdict: Verdict) -> Iterator[str]:
    """Check that the spans are within the prompt."""
    for side, trace in _list_sides(verdict):
        problem = find_span_problem(trace)
        if problem:
            yield f"has a trace of {side} in which {problem}"


def _check_match(diff: StageDiff) -> Iterator[str]:
    metrics, evidence = diff.metrics, diff.evidence
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{name} {value}"
    for name in _ZERO_METRICS:
        is_bounded = name == "different" and diff.stage is Stage.MEDIA
        if metrics.get(name, 0) > 0 and not is_bounded:
            yield f"{name} {metrics[name]}"
    if metrics.get("limit_ratio", 0) > 1:
        yield f"limit_ratio {metrics['limit_ratio']}"
    for left, right in _EQUAL_METRICS:
        if metrics.get(left) != metrics.get(right):
            yield f"{left} {metrics.get(left)} and {right} {metrics.get(right)}"
    if isinstance(evidence, LogitEvidence) and not all(ratio <= 1 for ratio in evidence.row_limit_ratios):
        yield "positions beyond the limit"
    distance, allowed = metrics.get("tie_apart", math.inf), metrics.get("tie_allowed", 0)
    is_tie = diff.stage is Stage.GREEDY and distance <= allowed
    if isinstance(evidence, SequenceEvidence) and not is_tie and not all(h.equal for h in evidence.hunks):
        yield "ids that differ"


def _holds_stage(trace: Trace, stage: Stage) -> bool:
    if stage is Stage.INPUT_IDS and trace.prompt_tokens is not None:
        return True
    if stage in RECORD_FIELDS:
        return getattr(trace, RECORD_FIELDS[stage]) is not None
    return stage in trace.arrays or f"{stage}.ids" in trace.arrays


def _both_refuse(verdict: Verdict) -> bool:
    return verdict.reference.outcome is verdict.tested.outcome is Outcome.REFUSED


def _describe(kind: VerdictKind) -> str:
    return f"a {kind}" if kind in {VerdictKind.MATCH, VerdictKind.MISMATCH} else str(kind)


def _list_sides(verdict: Verdict) -> tuple[tuple[str, Trace], tuple[str, Trace]]:
    return ("the reference", verdict.reference), (verdict.backend, verdict.tested)


RULES: tuple[Callable[[Verdict], Iterator[str]], ...] = (
    check_versions,
    check_sides,
    check_stages,
    check_first_divergence,
    check_outcomes,
    check_kind,
    check_repetitions,
    check_texts,
    check_missing_stages,
    check_captured_stages,
    check_matches,
    check_spans,
)
