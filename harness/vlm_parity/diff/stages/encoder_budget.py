"""Does an engine reserve as many positions for its largest medium as are made of it?"""

from __future__ import annotations

from vlm_parity.diff.pair import Pair, match, mismatch, table
from vlm_parity.schema.max_media import described
from vlm_parity.schema.trace import Stage, Trace
from vlm_parity.schema.verdict import StageDiff

TOO_MUCH = "memory and batch size are lost"
TOO_LITTLE = "the engine may refuse such a medium, or die of it"


def diff(pair: Pair) -> StageDiff:
    """Compares two numbers of embedded positions exactly: what the engine sets aside, and what is made."""
    reserved = pair.tested.reserved
    assert reserved is not None, "vlm_parity.diff.compare asks for it"
    made = embedded(pair.reference, reserved.modality)
    metrics: dict[str, float | int] = {"reserved": reserved.tokens, "made": made}
    if reserved.tokens == made:
        return match(Stage.RESERVED, metrics)
    much = reserved.tokens > made
    message = (
        f"reserves too {'much' if much else 'little'} for its largest {reserved.modality}: {reserved.tokens} "
        f"positions, where {made} are made of it: {TOO_MUCH if much else TOO_LITTLE}\n"
    )
    own = pair.tested.spans
    rows = (
        (str(reserved.tokens), f"{pair.tested.backend} reserves, {reserved.under}"),
        (str(made), "the reference's processor makes"),
        (
            "-" if own is None else str(embedded(pair.tested, reserved.modality)),
            f"{pair.tested.backend} makes",
        ),
    )
    header = ("positions", f"{reserved.modality}: {described(reserved.medium)}")
    return mismatch(Stage.RESERVED, message + table(header, rows), metrics)


def embedded(trace: Trace, modality: str) -> int:
    """How many positions a trace embeds of one modality."""
    return sum(span.embedded for span in trace.spans or () if span.modality == modality)
