"""What a case page shows along the positions of the prompt: spans, and distances of logits."""

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
    """One medium's span as text; a side that has none says so."""

    name: str
    reference: str
    tested: str


@dataclass(frozen=True)
class CandidateRow:
    """One token that is among the most likely of either side."""

    id: int
    text: str
    reference: float | None
    tested: float | None

    @property
    def difference(self) -> float | None:
        """Tested less reference, where both sides list the token."""
        if self.reference is None or self.tested is None:
            return None
        return self.tested - self.reference


@dataclass(frozen=True)
class LogitView:
    """One plot of differences, and the most likely tokens where they are largest."""

    diff: StageDiff
    evidence: LogitEvidence
    plot: Markup
    token: str
    """The reference's token at the worst position, with its id and the medium it stands for."""
    candidates: tuple[CandidateRow, ...]
    beyond: int
    """How many positions lie beyond what noise allows."""


def render_span_ruler(verdict: Verdict) -> Markup | None:
    """The spans of both sides over their prompts; None where there are none."""
    sides = (("reference", verdict.reference), (verdict.backend, verdict.tested))
    lanes = [Lane(name, trace.spans, _positions(trace)) for name, trace in sides if trace.spans is not None]
    return render_ruler(lanes) if any(lane.spans for lane in lanes) else None


def build_span_rows(verdict: Verdict) -> list[SpanRow]:
    """The spans of both sides in words, in the order of the prompt."""
    traces = (verdict.reference, verdict.tested)
    keys = dict.fromkeys((span.modality, span.item) for trace in traces for span in trace.spans or ())
    return [
        SpanRow(f"{modality} {item}", *(_span_text(trace, modality, item) for trace in traces))
        for modality, item in keys
    ]


def build_logit_views(verdict: Verdict) -> Iterator[LogitView]:
    """The plots of the stages that have numbers for each position."""
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
    """The length of the prompt; where the ids are missing, up to the end of the last span."""
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
    """The reference's token at a position, and the medium that it stands for."""
    trace = verdict.reference
    ids = (trace.input_ids or ()) + (trace.continuation or ())
    if not 0 <= position < len(ids):
        return ""
    text = trace.vocabulary.get(ids[position], "")
    inside = (s for s in trace.spans or () if any(start <= position < stop for start, stop in s.runs))
    medium = next((f", within {span.modality} {span.item}" for span in inside), "")
    return f"{ids[position]} {text}{medium}"


def _candidates(evidence: LogitEvidence) -> Iterator[CandidateRow]:
    """The tokens of both lists: the reference's in its order, then those of the other side alone."""
    reference = {candidate.id: candidate for candidate in evidence.reference_top}
    tested = {candidate.id: candidate for candidate in evidence.tested_top}
    for id_, candidate in {**reference, **tested}.items():
        yield CandidateRow(id_, candidate.text, _logprob(reference, id_), _logprob(tested, id_))


def _logprob(candidates: dict[int, Candidate], id_: int) -> float | None:
    return candidates[id_].logprob if id_ in candidates else None
