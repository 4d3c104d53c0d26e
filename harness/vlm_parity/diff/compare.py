"""Compares two traces at every stage, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vlm_parity.diff.pair import Pair, not_compared
from vlm_parity.diff.special_tokens import without_media
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
from vlm_parity.schema.trace_arrays import TensorFile
from vlm_parity.schema.verdict import StageDiff

DIFFS: dict[Stage, Callable[[Pair], StageDiff]] = {
    Stage.PROMPT: prompt.diff,
    Stage.INPUT_IDS: input_ids.diff,
    Stage.SPANS: spans.diff,
    Stage.RESERVED: encoder_budget.diff,
    Stage.MEDIA: media.diff,
    Stage.POSITIONS: positions.diff,
    Stage.VISION: vision.diff,
    Stage.PREFILL: prefill.diff,
    Stage.DECODE: decode.diff,
    Stage.GREEDY: greedy.diff,
}

_NEEDS_COUNTERPARTS = {Stage.POSITIONS, Stage.VISION, Stage.PREFILL, Stage.DECODE}
_NEEDS_NOISE = {Stage.VISION, Stage.PREFILL, Stage.DECODE}


def compare(pair: Pair) -> Iterator[StageDiff]:
    """One diff for every stage, in order. Every stage is either compared or says why not."""
    for stage in Stage:
        reason = _obstacle(stage, pair)
        yield not_compared(stage, reason) if reason else DIFFS[stage](pair)


def _obstacle(stage: Stage, pair: Pair) -> str | None:
    """Why a stage cannot be compared; None where it can."""
    if pair.tested.depth != stage.depth and stage.depth == "logits":
        return f"it was asked at the depth {pair.tested.depth}"
    if stage is Stage.RESERVED:
        return _reserved_obstacle(pair)
    if stage is Stage.MEDIA and pair.reference.media == () and not pair.tested.media:
        return "the case holds no medium"
    if stage is Stage.VISION and pair.reference.spans == ():
        return "the case holds no medium"
    sides = (
        ("the reference", pair.reference, pair.reference_tensors),
        (pair.tested.backend, pair.tested, pair.tested_tensors),
    )
    for side, trace, tensors in sides:
        lacking = _lacking(stage, side, trace, tensors)
        if lacking:
            return lacking
    if stage in _NEEDS_NOISE and pair.noise(stage) is None:
        return f"no noise floor in {pair.tested.environment.dtype} was measured"
    if stage is Stage.PROMPT and _is_written_otherwise(pair):
        return "media are written otherwise, and the ids that come of it are the same"
    if stage in _NEEDS_COUNTERPARTS and not _correspond(pair):
        return "the ids differ, so the positions have no counterpart"
    return None


def _reserved_obstacle(pair: Pair) -> str | None:
    """What an engine reserves is held against the reference's spans, whatever the engine makes itself."""
    tested = pair.tested
    if tested.reserved is not None:
        return _lacking(Stage.SPANS, "the reference", pair.reference, pair.reference_tensors)
    if tested.outcome is Outcome.CAPTURED or tested.input_ids is not None:
        return "the case does not hold the engine's largest medium"
    return f"{tested.backend}: {tested.outcome}"


def _lacking(stage: Stage, side: str, trace: Trace, tensors: TensorFile | None) -> str | None:
    """Why a side has nothing for a stage; None where it has."""
    if stage in trace.not_captured:
        return f"{side}: {trace.not_captured[stage]}"
    if not _is_missing(stage, trace, tensors):
        return None
    if trace.outcome is not Outcome.CAPTURED:
        return f"{side}: {trace.outcome}"
    return f"{side} captured nothing for this stage"


def _is_written_otherwise(pair: Pair) -> bool:
    """Whether the texts differ in what stands for media alone, and not in what the model is fed. Some
    engines write into the prompt what transformers' processor puts around a placeholder later on."""
    reference, tested = pair.reference.prompt or "", pair.tested.prompt or ""
    if reference == tested or pair.reference.input_ids != pair.tested.input_ids:
        return False
    return without_media(reference) == without_media(tested)


def _correspond(pair: Pair) -> bool:
    """Whether the ids are equal but for positions that the same media's features replace on both sides:
    some engines mark them by other ids, which the model never sees. Of ids that are not known the number
    has to do."""
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
    return all(ours == theirs or at in embedded for at, (ours, theirs) in enumerate(pairs))


def _is_missing(stage: Stage, trace: Trace, tensors: TensorFile | None) -> bool:
    if stage in {Stage.POSITIONS, Stage.VISION}:
        return tensors is None or stage not in tensors
    if stage is Stage.INPUT_IDS and trace.prompt_tokens is not None:
        return False
    return getattr(trace, RECORD_FIELDS.get(stage, "greedy")) is None
