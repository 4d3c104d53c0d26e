"""Rules on the encoder budget of an engine."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.stages.encoder_budget import OVER_RESERVED, UNDER_RESERVED, count_embedded
from vlm_parity.schema.max_media import describe_medium
from vlm_parity.schema.trace import Stage


@register_rule("encoder budget differs from actual length", Stage.ENCODER_BUDGET, is_general=True)
def explain_budget_length(rule_input: RuleInput) -> Explanation | None:
    """Detect an engine that reserves another number of positions than its largest medium has."""
    budget, backend = rule_input.pair.tested.encoder_budget, rule_input.pair.tested.backend
    if budget is None:
        return None
    actual, own = (
        count_embedded(side, budget.modality) for side in (rule_input.pair.reference, rule_input.pair.tested)
    )
    own_count = "in its own processor" if own == actual else f"{own} in its own processor"
    factor = max(budget.tokens, actual) / min(budget.tokens, actual) if budget.tokens and actual else None
    ratio = f" ({factor:.3g} times {'as many' if budget.tokens > actual else 'as few'})" if factor else ""
    sentence = (
        f"{backend} reserves {budget.tokens} positions{ratio} for its largest {budget.modality}, "
        f"{describe_medium(budget.medium)} ({budget.condition}), which has {actual} in transformers and "
        f"{own_count}: {OVER_RESERVED if budget.tokens > actual else UNDER_RESERVED}."
    )
    return 0.95, sentence
