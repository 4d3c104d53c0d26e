"""Rules for a case that goes in by another way than the chat path of an engine in its own process."""

from __future__ import annotations

from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import DiffStatus


@register_rule("differs by entry point", *Stage)
def explain_entry_point_dependence(finding: RuleInput) -> Explanation | None:
    """The chat path of the same engine agrees with the reference at this stage."""
    tested, default, stage = finding.pair.tested, finding.default, finding.diff.stage
    if tested.entry_point is EntryPoint.CHAT:
        return None
    went_in = f"The case went into {tested.backend} by {tested.entry_point}"
    if default is None:
        return 0.4, f"{went_in}. The chat path was not compared: add --entry-point {EntryPoint.CHAT}."
    if default.stage(stage).status is not DiffStatus.MATCH:
        return None
    return 0.6, f"{went_in}; through its chat path the same case is at {stage} as in the reference."
