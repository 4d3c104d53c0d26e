"""Comparison of the positions that media features replace."""

from __future__ import annotations

from itertools import zip_longest

from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.verdict import StageDiff


def diff_spans(pair: TracePair) -> StageDiff:
    """Compare the spans exactly, in the order of the prompt."""
    reference, tested = pair.reference.spans or (), pair.tested.spans or ()
    lines = [(">" if a != b else " ", _text(a), _text(b)) for a, b in zip_longest(reference, tested)]
    different = sum(mark == ">" for mark, _, _ in lines)
    metrics: dict[str, float | int] = {
        "reference_spans": len(reference),
        "tested_spans": len(tested),
        "different": different,
    }
    if not different:
        return build_match(Stage.SPANS, metrics)
    message = f"spans differ: {different} of {len(lines)}\n" + format_table(
        ("", "reference", pair.tested.backend), lines
    )
    return build_mismatch(Stage.SPANS, message, metrics)


def _text(span: Span | None) -> str:
    if span is None:
        return "-"
    runs = f" in {len(span.runs)} runs" if len(span.runs) > 1 else ""
    return f"{span.modality} {span.item}: offset {span.offset}, {span.embedded} embedded{runs}"
