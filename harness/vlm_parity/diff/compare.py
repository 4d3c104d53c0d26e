"""Comparison of two traces at every stage, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vlm_parity.diff.pair import TracePair, build_not_compared
from vlm_parity.diff.special_tokens import strip_media_placeholders
from vlm_parity.diff.stages import (
    decode,
    encoder_budget,
    greedy,
    input_ids,
    media,
    positions,
    prefill,
    prompt,
    spans,
    vision,
)
from vlm_parity.schema.trace import RECORD_FIELDS, Outcome, Stage, Trace
from vlm_parity.schema.trace_arrays import ArrayFile
from vlm_parity.schema.verdict import StageDiff

STAGE_DIFFS: dict[Stage, Callable[[TracePair], StageDiff]] = {
    Stage.PROMPT: prompt.diff_prompt,
    Stage.INPUT_IDS: input_ids.diff_input_ids,
    Stage.SPANS: spans.diff_spans,
    Stage.ENCODER_BUDGET: encoder_budget.diff_encoder_budget,
    Stage.MEDIA: media.diff_media,
    Stage.POSITIONS: positions.diff_positions,
    Stage.VISION: vision.diff_vision,
    Stage.PREFILL: prefill.diff_prefill,
    Stage.DECODE: decode.diff_decode,
    Stage.GREEDY: greedy.diff_greedy,
}

_NEEDS_ALIGNED_IDS = {Stage.POSITIONS, Stage.VISION, Stage.PREFILL, Stage.DECODE}
_IDS_DIFFER = "the ids differ, so the positions have no counterpart"
_PARTIAL_DIFFS: dict[Stage, Callable[[TracePair, str], StageDiff]] = {
    Stage.POSITIONS: positions.diff_aligned_positions,
    Stage.VISION: vision.diff_vision_by_medium,
    Stage.PREFILL: prefill.diff_leading_rows,
}
"""Comparisons of what corresponds although the ids differ."""
_NEEDS_NOISE = {Stage.VISION, Stage.PREFILL, Stage.DECODE}


def compare_stages(pair: TracePair) -> Iterator[StageDiff]:
    """Yield one diff per stage, in order; a stage that cannot be compared states the reason."""
    for stage in Stage:
        reason = _skip_reason(stage, pair)
        if reason is None:
            yield STAGE_DIFFS[stage](pair)
        elif reason == _IDS_DIFFER and stage in _PARTIAL_DIFFS:
            yield _PARTIAL_DIFFS[stage](pair, reason)
        else:
            yield build_not_compared(stage, reason)


def _skip_reason(stage: Stage, pair: TracePair) -> str | None:
    """Return why a stage cannot be compared; None if it can."""
    if pair.tested.depth != stage.depth and stage.depth == "logits":
        return f"captured at depth {pair.tested.depth}"
    if stage is Stage.ENCODER_BUDGET:
        return _encoder_budget_skip_reason(pair)
    if stage is Stage.MEDIA and pair.reference.media == () and not pair.tested.media:
        return "the case has no media"
    if stage is Stage.VISION and pair.reference.spans == ():
        return "the case has no media"
    sides = (
        ("the reference", pair.reference, pair.reference_tensors),
        (pair.tested.backend, pair.tested, pair.tested_tensors),
    )
    for side, trace, tensors in sides:
        reason = _missing_reason(stage, side, trace, tensors)
        if reason:
            return reason
    if stage in _NEEDS_NOISE and pair.noise(stage) is None:
        return f"no noise floor in {pair.tested.environment.dtype} was measured"
    if stage is Stage.PROMPT and _is_rendered_differently(pair):
        return "placeholders are rendered differently, but the token ids are equal"
    if stage in _NEEDS_ALIGNED_IDS and not _ids_align(pair):
        return _IDS_DIFFER
    return None


def _encoder_budget_skip_reason(pair: TracePair) -> str | None:
    """Return why the encoder budget cannot be compared; it only needs the spans of the reference."""
    tested = pair.tested
    if tested.encoder_budget is not None:
        return _missing_reason(Stage.SPANS, "the reference", pair.reference, pair.reference_tensors)
    if tested.outcome is Outcome.CAPTURED or tested.input_ids is not None:
        return "the case has no max_size medium"
    return f"{tested.backend}: {tested.outcome}"


def _missing_reason(stage: Stage, side: str, trace: Trace, tensors: ArrayFile | None) -> str | None:
    """Return why a side lacks a stage; None if it has it."""
    if stage in trace.not_captured:
        return f"{side}: {trace.not_captured[stage]}"
    if not _is_missing(stage, trace, tensors):
        return None
    if trace.outcome is not Outcome.CAPTURED:
        return f"{side}: {trace.outcome}"
    return f"{side} captured nothing for this stage"


def _is_rendered_differently(pair: TracePair) -> bool:
    """Return whether the texts differ in media placeholders only, and the token ids are equal.

    Some engines render tokens around a placeholder that the transformers processor adds later.
    """
    reference, tested = pair.reference.prompt or "", pair.tested.prompt or ""
    if reference == tested or pair.reference.input_ids != pair.tested.input_ids:
        return False
    return strip_media_placeholders(reference) == strip_media_placeholders(tested)


def _ids_align(pair: TracePair) -> bool:
    """Return whether the ids are equal, except at positions that features of the same media replace.

    Some engines mark these positions by different ids, which the model never sees. If the ids are unknown,
    their numbers are compared.
    """
    if pair.tested.prompt_tokens is not None:
        return len(pair.reference.input_ids or ()) == pair.tested.prompt_tokens
    reference, tested = pair.reference.input_ids or (), pair.tested.input_ids or ()
    if reference == tested:
        return True
    spans = pair.reference.spans
    if len(reference) != len(tested) or spans is None or spans != pair.tested.spans:
        return False
    embedded = {position for span in spans for position in span.positions}
    pairs = zip(reference, tested, strict=True)
    return all(a == b or position in embedded for position, (a, b) in enumerate(pairs))


def _is_missing(stage: Stage, trace: Trace, tensors: ArrayFile | None) -> bool:
    names: frozenset[str] = frozenset() if tensors is None else tensors.names
    if stage not in RECORD_FIELDS:
        return names.isdisjoint({stage, f"{stage}.ids"})
    if stage is Stage.INPUT_IDS and trace.prompt_tokens is not None:
        return False
    if stage is Stage.MEDIA and trace.media is not None:
        return any(
            medium.tensor_name(array) not in names for medium in trace.media for array in medium.arrays
        )
    return getattr(trace, RECORD_FIELDS[stage]) is None
