"""Rules on cases that reach the engine through an entry point other than the chat path."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus


@register_rule("differs by entry point", *Stage, is_general=True)
def explain_entry_point_dependence(rule_input: RuleInput) -> Explanation | None:
    """Detect a stage at which the chat path of the same engine agrees with the reference."""
    tested, default, stage = rule_input.pair.tested, rule_input.default, rule_input.diff.stage
    if tested.entry_point is EntryPoint.CHAT:
        return None
    setup = f"{tested.backend} received the case through the entry point {tested.entry_point}"
    if default is None:
        return 0.4, f"{setup}. The chat path was not compared: add --entry-point {EntryPoint.CHAT}."
    if default.stage(stage).status is not DiffStatus.MATCH:
        return None
    return 0.6, f"{setup}; through the chat path the same case matches the reference at {stage}."
