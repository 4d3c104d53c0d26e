"""Rules on what an engine reserves for its largest medium."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, Finding, rule
from vlm_parity.diff.stages.encoder_budget import TOO_LITTLE, TOO_MUCH, embedded
from vlm_parity.schema.max_media import described
from vlm_parity.schema.trace import Stage


@rule("encoder budget differs from actual length", Stage.RESERVED)
def other_length(finding: Finding) -> Explanation | None:
    """The engine counts on another number of positions than a processor makes of that very medium."""
    reserved, backend = finding.pair.tested.reserved, finding.pair.tested.backend
    if reserved is None:
        return None
    made, own = (embedded(side, reserved.modality) for side in (finding.pair.reference, finding.pair.tested))
    alike = "so does its own processor" if own == made else f"its own processor makes {own}"
    times = max(reserved.tokens, made) / min(reserved.tokens, made) if reserved.tokens and made else None
    ratio = f" ({times:.3g} times {'as many' if reserved.tokens > made else 'as few'})" if times else ""
    words = (
        f"{backend} reserves {reserved.tokens} positions{ratio} for its largest {reserved.modality}, "
        f"{described(reserved.medium)}, of which transformers makes {made}, and {alike} ({reserved.under}): "
        f"{TOO_MUCH if reserved.tokens > made else TOO_LITTLE}."
    )
    return 0.95, words
