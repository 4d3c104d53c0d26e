"""Comparison of an engine's encoder budget with the actual length of its largest medium."""

from __future__ import annotations

from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.schema.max_media import describe_medium
from vlm_parity.schema.trace import Stage, Trace
from vlm_parity.schema.verdict import StageDiff

OVER_RESERVED = "this wastes memory and reduces the batch size"
UNDER_RESERVED = "the engine may refuse such a medium, or crash"


def diff_encoder_budget(pair: TracePair) -> StageDiff:
    """Compare the number of reserved positions exactly with the number that the reference embeds."""
    budget = pair.tested.encoder_budget
    assert budget is not None, "compare_stages checks it"
    actual = count_embedded(pair.reference, budget.modality)
    metrics: dict[str, float | int] = {"encoder_budget": budget.tokens, "actual": actual}
    if budget.tokens == actual:
        return build_match(Stage.ENCODER_BUDGET, metrics)
    is_over = budget.tokens > actual
    message = (
        f"reserves too {'much' if is_over else 'little'} for its largest {budget.modality}: {budget.tokens} "
        f"positions instead of {actual}; {OVER_RESERVED if is_over else UNDER_RESERVED}\n"
    )
    own_spans = pair.tested.spans
    rows = (
        (str(budget.tokens), f"reserved by {pair.tested.backend}, {budget.condition}"),
        (str(actual), "from the reference processor"),
        (
            "-" if own_spans is None else str(count_embedded(pair.tested, budget.modality)),
            f"from the {pair.tested.backend} processor",
        ),
    )
    header = ("positions", f"{budget.modality}: {describe_medium(budget.medium)}")
    return build_mismatch(Stage.ENCODER_BUDGET, message + format_table(header, rows), metrics)


def count_embedded(trace: Trace, modality: str) -> int:
    """Count the positions that a trace embeds for one modality."""
    return sum(span.embedded for span in trace.spans or () if span.modality == modality)
