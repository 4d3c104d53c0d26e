"""Comparison of the rendered prompts, before placeholders are expanded."""

from __future__ import annotations

from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff, TextEvidence
from vlm_parity.util.sequences import find_first_difference

_BEFORE, _AFTER = 24, 72  # characters of context around the first difference


def diff_prompt(pair: TracePair) -> StageDiff:
    """Compare the two texts character by character."""
    reference, tested = pair.reference.prompt or "", pair.tested.prompt or ""
    metrics: dict[str, float | int] = {"reference_length": len(reference), "tested_length": len(tested)}
    index = find_first_difference(reference, tested)
    if index is None:
        return build_match(Stage.PROMPT, metrics)
    context = slice(max(0, index - _BEFORE), index + _AFTER)
    message = f"prompts differ at character {index}\n" + format_table(
        ("side", "context"),
        [("reference", repr(reference[context])), (pair.tested.backend, repr(tested[context]))],
    )
    evidence = TextEvidence(index=index, reference=reference[context], tested=tested[context])
    return build_mismatch(Stage.PROMPT, message, metrics, evidence)
