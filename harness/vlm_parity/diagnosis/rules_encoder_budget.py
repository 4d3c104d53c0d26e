"""Rules on what an engine reserves for its largest medium."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.stages.encoder_budget import OVER_RESERVED, UNDER_RESERVED, count_embedded
from vlm_parity.schema.max_media import describe_medium
from vlm_parity.schema.trace import Stage


@register_rule("encoder budget differs from actual length", Stage.ENCODER_BUDGET)
def explain_budget_length(finding: RuleInput) -> Explanation | None:
    """The engine counts on another number of positions than a processor makes of that very medium."""
    reserved, backend = finding.pair.tested.encoder_budget, finding.pair.tested.backend
    if reserved is None:
        return None
    made, own = (
        count_embedded(side, reserved.modality) for side in (finding.pair.reference, finding.pair.tested)
    )
    alike = "so does its own processor" if own == made else f"its own processor makes {own}"
    times = max(reserved.tokens, made) / min(reserved.tokens, made) if reserved.tokens and made else None
    ratio = f" ({times:.3g} times {'as many' if reserved.tokens > made else 'as few'})" if times else ""
    words = (
        f"{backend} reserves {reserved.tokens} positions{ratio} for its largest {reserved.modality}, "
        f"{describe_medium(reserved.medium)}, of which transformers makes {made}, and {alike} ({reserved.condition}): "
        f"{OVER_RESERVED if reserved.tokens > made else UNDER_RESERVED}."
    )
    return 0.95, words
