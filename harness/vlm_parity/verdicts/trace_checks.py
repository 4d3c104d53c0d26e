"""Completeness of a trace: a stage may be missing only for a reason that the trace states."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import RECORD_FIELDS, Outcome, Stage, Trace
from vlm_parity.schema.trace_arrays import ArrayFile

_SHOWN_NAMES = 5
_MOST_POSITIONS = 2**24
"""The longest prompt of a trace whose number of ids is unknown."""


def find_trace_problem(side: str, trace: Trace, arrays: ArrayFile | None, depth: Depth) -> str | None:
    """Describe the first problem of a captured trace; None if it is complete, or if nothing was captured.

    Args:
        side: name of the side for the message.
        trace: the record.
        arrays: the arrays in its folder, if it holds any.
        depth: the depth of the comparison, which the trace must reach.
    """
    if trace.outcome is not Outcome.CAPTURED:
        return None
    names = frozenset() if arrays is None else arrays.names
    of_media = (medium.tensor_name(name) for medium in trace.media or () for name in medium.arrays)
    if missing := sorted({*trace.arrays, *of_media} - names):
        return f"the trace of {side} lacks arrays that its record names: {_join(missing)}"
    if added := sorted(names - set(trace.arrays)):
        return f"the trace of {side} holds arrays that its record does not name: {_join(added)}"
    if unstated := list(list_unstated_stages(trace, depth)):
        return (
            f"the trace of {side} lacks {_join(unstated)} and states no reason: a backend returns it in "
            "not_captured of its inputs or outputs"
        )
    if trace.spans and trace.media == ():
        return f"the trace of {side} has spans of media, but no media"
    return None


def list_unstated_stages(trace: Trace, depth: Depth) -> Iterator[str]:
    """Yield the stages of a depth that a captured trace neither holds nor explains."""
    for stage in Stage:
        is_deeper = stage.depth is Depth.LOGITS and depth is Depth.TOKENS
        if not (is_deeper or stage in trace.not_captured or _has_stage(trace, stage)):
            yield stage


def find_span_problem(trace: Trace) -> str | None:
    """Describe why the spans of a trace cannot be those of its prompt; None if they can.

    What reads them allocates memory for their positions.
    """
    length = trace.prompt_tokens if trace.input_ids is None else len(trace.input_ids)
    length = _MOST_POSITIONS if length is None else length
    for span in trace.spans or ():
        bounds = [bound for run in span.runs for bound in run]
        is_ordered = bounds == sorted(bounds) and all(start < stop for start, stop in span.runs)
        if not is_ordered or any(bound > length for bound in bounds):
            return f"the span of {span.modality} {span.item} does not fit a prompt of {length} positions"
    return None


def _has_stage(trace: Trace, stage: Stage) -> bool:
    """Return whether a trace holds all that its case needs at a stage."""
    if stage is Stage.ENCODER_BUDGET and trace.max_size_modality is None:
        return True
    if stage in {Stage.MEDIA, Stage.VISION} and trace.spans == ():
        return True
    if stage is Stage.INPUT_IDS and trace.prompt_tokens is not None:
        return True
    if stage in RECORD_FIELDS:
        return getattr(trace, RECORD_FIELDS[stage]) is not None
    return stage in trace.arrays or f"{stage}.ids" in trace.arrays


def _join(names: list[str]) -> str:
    rest = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
