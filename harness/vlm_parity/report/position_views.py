"""Views of a case page by prompt position: spans, and distances of logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from vlm_parity.report.charts import Lane, render_plot, render_ruler
from vlm_parity.report.entries import get_diff
from vlm_parity.schema.trace import Span, Stage, Trace
from vlm_parity.schema.verdict import Candidate, LogitEvidence, StageDiff, Verdict

_LOGIT_STAGES = (Stage.PREFILL, Stage.DECODE)


@dataclass(frozen=True)
class SpanRow:
    """The span of one medium on both sides, as text."""

    name: str
    reference: str
    tested: str


@dataclass(frozen=True)
class CandidateRow:
    """A token that is among the most likely of either side."""

    id: int
    text: str
    reference: float | None
    tested: float | None

    @property
    def difference(self) -> float | None:
        """Tested minus reference; None if one side does not list the token."""
        if self.reference is None or self.tested is None:
            return None
        return self.tested - self.reference


@dataclass(frozen=True)
class LogitView:
    """A plot of distances, and the most likely tokens at the largest of them."""

    diff: StageDiff
    evidence: LogitEvidence
    plot: Markup
    token: str
    """The token of the reference at the worst position, with its id and its medium."""
    candidates: tuple[CandidateRow, ...]
    beyond: int
    """Number of positions beyond the limit of the noise floor."""


def render_span_ruler(verdict: Verdict) -> Markup | None:
    """Draw the spans of both sides over their prompts; return None if there are none."""
    sides = (("reference", verdict.reference), (verdict.backend, verdict.tested))
    lanes = [Lane(name, trace.spans, _positions(trace)) for name, trace in sides if trace.spans is not None]
    return render_ruler(lanes) if any(lane.spans for lane in lanes) else None


def build_span_rows(verdict: Verdict) -> list[SpanRow]:
    """Describe the spans of both sides, in the order of the prompt."""
    traces = (verdict.reference, verdict.tested)
    keys = dict.fromkeys((span.modality, span.item) for trace in traces for span in trace.spans or ())
    return [
        SpanRow(f"{modality} {item}", *(_span_text(trace, modality, item) for trace in traces))
        for modality, item in keys
    ]


def build_logit_views(verdict: Verdict) -> Iterator[LogitView]:
    """Yield the views of the stages that have a distance for each position."""
    for stage in _LOGIT_STAGES:
        evidence = get_diff(verdict, stage).evidence
        if isinstance(evidence, LogitEvidence):
            yield LogitView(
                diff=get_diff(verdict, stage),
                evidence=evidence,
                plot=render_plot(evidence, verdict.reference.spans or ()),
                token=_token_at(verdict, evidence.worst_position),
                candidates=tuple(_candidates(evidence)),
                beyond=sum(not value <= 1 for value in evidence.row_limit_ratios),
            )


def _positions(trace: Trace) -> int:
    """Return the length of the prompt; without ids, the end of the last span."""
    if trace.input_ids is not None:
        return len(trace.input_ids)
    return max((span.offset + span.length for span in trace.spans or ()), default=0)


def _span_text(trace: Trace, modality: str, item: int) -> str:
    if trace.spans is None:
        return "not captured"
    spans = [span for span in trace.spans if (span.modality, span.item) == (modality, item)]
    return " and ".join(map(_extent, spans)) or "none"


def _extent(span: Span) -> str:
    runs = f" in {len(span.runs)} runs" if len(span.runs) > 1 else ""
    return f"{span.embedded} embedded from {span.offset} to {span.offset + span.length - 1}{runs}"


def _token_at(verdict: Verdict, position: int) -> str:
    """Describe the token of the reference at a position, and its medium."""
    trace = verdict.reference
    ids = (trace.input_ids or ()) + (trace.continuation or ())
    if not 0 <= position < len(ids):
        return ""
    text = trace.vocabulary.get(ids[position], "")
    inside = (s for s in trace.spans or () if any(start <= position < stop for start, stop in s.runs))
    medium = next((f", within {span.modality} {span.item}" for span in inside), "")
    return f"{ids[position]} {text}{medium}"


def _candidates(evidence: LogitEvidence) -> Iterator[CandidateRow]:
    """Yield the tokens of both sides: those of the reference in its order, then the remaining ones."""
    reference = {candidate.id: candidate for candidate in evidence.reference_top}
    tested = {candidate.id: candidate for candidate in evidence.tested_top}
    for id_, candidate in {**reference, **tested}.items():
        yield CandidateRow(id_, candidate.text, _logprob(reference, id_), _logprob(tested, id_))


def _logprob(candidates: dict[int, Candidate], id_: int) -> float | None:
    return candidates[id_].logprob if id_ in candidates else None
