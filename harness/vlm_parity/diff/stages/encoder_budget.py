"""Does an engine reserve as many positions for its largest medium as are made of it?"""

from __future__ import annotations

from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.schema.max_media import describe_medium
from vlm_parity.schema.trace import Stage, Trace
from vlm_parity.schema.verdict import StageDiff

OVER_RESERVED = "memory and batch size are lost"
UNDER_RESERVED = "the engine may refuse such a medium, or die of it"


def diff_encoder_budget(pair: TracePair) -> StageDiff:
    """Compares two numbers of embedded positions exactly: what the engine sets aside, and what is made."""
    reserved = pair.tested.encoder_budget
    assert reserved is not None, "vlm_parity.diff.compare asks for it"
    made = count_embedded(pair.reference, reserved.modality)
    metrics: dict[str, float | int] = {"encoder_budget": reserved.tokens, "actual": made}
    if reserved.tokens == made:
        return build_match(Stage.ENCODER_BUDGET, metrics)
    much = reserved.tokens > made
    message = (
        f"reserves too {'much' if much else 'little'} for its largest {reserved.modality}: {reserved.tokens} "
        f"positions, where {made} are made of it: {OVER_RESERVED if much else UNDER_RESERVED}\n"
    )
    own = pair.tested.spans
    rows = (
        (str(reserved.tokens), f"{pair.tested.backend} reserves, {reserved.condition}"),
        (str(made), "the reference's processor makes"),
        (
            "-" if own is None else str(count_embedded(pair.tested, reserved.modality)),
            f"{pair.tested.backend} makes",
        ),
    )
    header = ("positions", f"{reserved.modality}: {describe_medium(reserved.medium)}")
    return build_mismatch(Stage.ENCODER_BUDGET, message + format_table(header, rows), metrics)


def count_embedded(trace: Trace, modality: str) -> int:
    """How many positions a trace embeds of one modality."""
    return sum(span.embedded for span in trace.spans or () if span.modality == modality)
