"""Rules on spans with equal ids: the features are merged at different positions."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Span, Stage


@register_rule("span shifted", Stage.SPANS)
def explain_shifted(rule_input: RuleInput) -> Explanation | None:
    """Detect spans of the same shape at an offset."""
    pairs = _pairs(rule_input)
    steps = [b.offset - a.offset for a, b in pairs]
    keeps_shape = all(_shift_span(a, step) == b.runs for (a, b), step in zip(pairs, steps, strict=True))
    moved = [(a, step) for (a, _), step in zip(pairs, steps, strict=True) if step]
    if not keeps_shape or not moved:
        return None
    first, step = moved[0]
    is_uniform = len({step for _, step in moved}) == 1
    sentence = (
        f"The features of {_format_name(first)} start {_positions(step)} too "
        f"{'late' if step > 0 else 'early'} in {rule_input.pair.tested.backend}, at position "
        f"{first.offset + step}; its placeholders start at {first.offset}. {len(moved)} of {len(pairs)} "
        f"spans moved{'' if is_uniform else ', by different distances'}."
    )
    return 0.95, sentence


@register_rule("span length differs", Stage.SPANS)
def explain_length(rule_input: RuleInput) -> Explanation | None:
    """Detect a span of a different length."""
    other = [(a, b) for a, b in _pairs(rule_input) if a.embedded != b.embedded]
    if not other:
        return None
    reference, tested = other[0]
    change = tested.embedded - reference.embedded
    sentence = (
        f"The span of {_format_name(reference)} is {_positions(change)} too "
        f"{'long' if change > 0 else 'short'} in {rule_input.pair.tested.backend}: {_borders(tested)} "
        f"instead of {_borders(reference)}; {len(other)} of {len(rule_input.pair.reference.spans or ())} "
        "spans differ in length."
    )
    return 0.95, sentence


@register_rule("media reordered", Stage.SPANS)
def explain_media_order(rule_input: RuleInput) -> Explanation | None:
    """Detect equal spans that belong to different media."""
    reference, tested = rule_input.pair.reference.spans or (), rule_input.pair.tested.spans or ()
    owners, others = (
        {span.runs: (span.modality, span.item) for span in spans} for spans in (reference, tested)
    )
    if owners == others or owners.keys() != others.keys():
        return None
    first = next(span for span in reference if others[span.runs] != (span.modality, span.item))
    modality, item = others[first.runs]
    sentence = (
        f"The positions of {_format_name(first)} ({_borders(first)}) hold {modality} {item} in "
        f"{rule_input.pair.tested.backend}; the spans themselves are equal."
    )
    return 0.95, sentence


@register_rule("span missing or added", Stage.SPANS)
def explain_count(rule_input: RuleInput) -> Explanation | None:
    """Detect a medium with a span on one side only."""
    reference, tested = (
        {(span.modality, span.item): span for span in trace.spans or ()}
        for trace in (rule_input.pair.reference, rule_input.pair.tested)
    )
    one_sided = [span for key, span in (reference | tested).items() if (key in reference) != (key in tested)]
    if not one_sided:
        return None
    first = one_sided[0]
    backend = rule_input.pair.tested.backend
    side, other = ("the reference", backend) if first in reference.values() else (backend, "the reference")
    sentence = f"{_format_name(first)} has a span ({_borders(first)}) in {side} and none in {other}."
    return 0.95, f"{sentence[0].upper()}{sentence[1:]}"


def _pairs(rule_input: RuleInput) -> list[tuple[Span, Span]]:
    """Pair the spans of each medium; return none if the media differ, or equal spans are reordered."""
    sides = rule_input.pair.reference.spans or (), rule_input.pair.tested.spans or ()
    reference, tested = ({(span.modality, span.item): span for span in spans} for spans in sides)
    same_runs = {span.runs for span in sides[0]} == {span.runs for span in sides[1]}
    return (
        [(reference[key], tested[key]) for key in reference]
        if reference.keys() == tested.keys() and not same_runs
        else []
    )


def _shift_span(span: Span, step: int) -> tuple[tuple[int, int], ...]:
    return tuple((start + step, stop + step) for start, stop in span.runs)


def _format_name(span: Span) -> str:
    return f"{span.modality} {span.item}"


def _positions(change: int) -> str:
    return f"{abs(change)} position{'s' if abs(change) > 1 else ''}"


def _borders(span: Span) -> str:
    return f"{span.embedded} positions from {span.offset}"
