"""Rules on spans where the ids are the same: the features go to other positions."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Span, Stage


@register_rule("span shifted", Stage.SPANS)
def explain_shifted(finding: RuleInput) -> Explanation | None:
    """Spans keep their shape and stand some positions further on, or further back."""
    pairs = _pairs(finding)
    steps = [b.offset - a.offset for a, b in pairs]
    kept = all(_shift_span(a, step) == b.runs for (a, b), step in zip(pairs, steps, strict=True))
    moved = [(a, step) for (a, _), step in zip(pairs, steps, strict=True) if step]
    if not kept or not moved:
        return None
    first, step = moved[0]
    alike = len({step for _, step in moved}) == 1
    words = (
        f"The features of {_format_name(first)} go {_positions(step)} too {'far' if step > 0 else 'early'} in "
        f"{finding.pair.tested.backend}: from position {first.offset + step} on, where its placeholders "
        f"start at {first.offset}; {len(moved)} of {len(pairs)} spans are moved"
        f"{'' if alike else ', not all by as much'}."
    )
    return 0.95, words


@register_rule("span length differs", Stage.SPANS)
def explain_length(finding: RuleInput) -> Explanation | None:
    """A span takes in fewer positions, or more, than the medium has features in the reference."""
    other = [(a, b) for a, b in _pairs(finding) if a.embedded != b.embedded]
    if not other:
        return None
    ours, theirs = other[0]
    change = theirs.embedded - ours.embedded
    words = (
        f"The span of {_format_name(ours)} is {_positions(change)} too {'long' if change > 0 else 'short'} in "
        f"{finding.pair.tested.backend}: {_borders(theirs)}, {_borders(ours)} in the reference; "
        f"{len(other)} of {len(finding.pair.reference.spans or ())} spans differ in length."
    )
    return 0.95, words


@register_rule("media reordered", Stage.SPANS)
def explain_media_order(finding: RuleInput) -> Explanation | None:
    """The same spans, given to other media."""
    ours, theirs = finding.pair.reference.spans or (), finding.pair.tested.spans or ()
    owners, others = ({span.runs: (span.modality, span.item) for span in spans} for spans in (ours, theirs))
    if owners == others or owners.keys() != others.keys():
        return None
    first = next(span for span in ours if others[span.runs] != (span.modality, span.item))
    modality, item = others[first.runs]
    words = (
        f"The positions of {_format_name(first)} ({_borders(first)}) hold {modality} {item} in "
        f"{finding.pair.tested.backend}; the spans themselves are the same."
    )
    return 0.95, words


@register_rule("span missing or added", Stage.SPANS)
def explain_count(finding: RuleInput) -> Explanation | None:
    """A medium has a span on one side only."""
    ours, theirs = (
        {(span.modality, span.item): span for span in trace.spans or ()}
        for trace in (finding.pair.reference, finding.pair.tested)
    )
    alone = [span for key, span in (ours | theirs).items() if (key in ours) != (key in theirs)]
    if not alone:
        return None
    first = alone[0]
    backend = finding.pair.tested.backend
    side, other = ("the reference", backend) if first in ours.values() else (backend, "the reference")
    words = f"{_format_name(first)} has a span ({_borders(first)}) in {side} and none in {other}."
    return 0.95, f"{words[0].upper()}{words[1:]}"


def _pairs(finding: RuleInput) -> list[tuple[Span, Span]]:
    """The spans of each medium; none where one side has media that the other has not, or where the same
    spans are given to others.
    """
    sides = finding.pair.reference.spans or (), finding.pair.tested.spans or ()
    ours, theirs = ({(span.modality, span.item): span for span in spans} for spans in sides)
    same_runs = {span.runs for span in sides[0]} == {span.runs for span in sides[1]}
    return (
        [(ours[key], theirs[key]) for key in ours] if ours.keys() == theirs.keys() and not same_runs else []
    )


def _shift_span(span: Span, step: int) -> tuple[tuple[int, int], ...]:
    return tuple((start + step, stop + step) for start, stop in span.runs)


def _format_name(span: Span) -> str:
    return f"{span.modality} {span.item}"


def _positions(change: int) -> str:
    return f"{abs(change)} position{'s' if abs(change) > 1 else ''}"


def _borders(span: Span) -> str:
    return f"{span.embedded} positions from {span.offset} on"
