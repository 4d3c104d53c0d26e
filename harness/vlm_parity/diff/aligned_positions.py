"""Positions of corresponding ids, if the ids of two prompts agree only in part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vlm_parity.diff.align import TokenRun, align_sequences
from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span, Trace
from vlm_parity.schema.verdict import Hunk

Medium = tuple[Modality, int]
"""The modality of a medium, and its index among those of the modality."""


@dataclass(frozen=True)
class AlignedPositions:
    """The positions of the ids that have a counterpart, in the order of the prompt."""

    index: np.ndarray
    """int64 [rows], indices in the reference's prompt."""
    tested_index: np.ndarray
    """int64 [rows], indices in the tested prompt."""
    reference: np.ndarray
    """[axes, rows], positions in the reference."""
    tested: np.ndarray
    """[axes, rows], tested positions minus ``shift``."""
    shift: np.ndarray
    """[axes, rows], the expected difference of the tested positions from the reference's."""
    unexplained: tuple[int, ...]
    """Indices in the reference behind which the shift cannot be derived from the ids: it is that of the first
    row there."""


@dataclass(frozen=True)
class _Segment:
    """Consecutive ids that correspond one to one."""

    start: int
    tested_start: int
    length: int
    growth: int | None
    """The growth of the shift in front of it; None if the ids do not determine it."""


def align_positions(pair: TracePair, reference: np.ndarray, tested: np.ndarray) -> AlignedPositions | None:
    """Align the positions of two prompts by their ids.

    Each text token advances the positions by one, so ids that only one side has shift those behind them by
    their number. Media advance them by their size: behind a medium without a counterpart, differences of
    positions are compared, but not the positions themselves. If the reference has a single axis, media
    advance the positions as text does.

    Args:
        pair: two traces whose ids differ.
        reference: positions of the reference, [axes, ids].
        tested: those of the tested side; one axis stands for all.

    Returns:
        The positions; None if no id has a counterpart, or the spans of a side are unknown.
    """
    segments = list(_find_segments(pair, reference))
    if not segments:
        return None
    axes = max(len(reference), len(tested))
    reference, tested = (np.broadcast_to(side, (axes, side.shape[1])) for side in (reference, tested))
    shift = np.zeros((len(reference), 1), dtype=reference.dtype)
    shifts, unexplained = [], []
    for segment in segments:
        if segment.growth is None:
            unexplained.append(segment.start)
            shift = tested[:, [segment.tested_start]] - reference[:, [segment.start]]
        else:
            shift = shift + segment.growth
        shifts.append(shift.repeat(segment.length, axis=1))
    index = np.concatenate([np.arange(each.length) + each.start for each in segments])
    tested_index = np.concatenate([np.arange(each.length) + each.tested_start for each in segments])
    expected = np.concatenate(shifts, axis=1)
    return AlignedPositions(
        index=index,
        tested_index=tested_index,
        reference=reference[:, index],
        tested=tested[:, tested_index] - expected,
        shift=expected,
        unexplained=tuple(unexplained),
    )


def _find_segments(pair: TracePair, positions: np.ndarray) -> Iterator[_Segment]:
    """Yield the segments in order; the positions are those of the reference."""
    sides = pair.reference, pair.tested
    if not all(map(_has_known_spans, sides)):
        return
    is_plain = len(positions) == 1
    is_text = [~build_span_mask(trace) for trace in sides]
    text_advances_by_one = bool((np.diff(positions, axis=1)[:, is_text[0][1:] & is_text[0][:-1]] == 1).all())
    gap = 0, 0
    for hunk in _align_ids(pair, is_plain):
        starts = hunk.reference_index, hunk.tested_index
        lengths = _count(hunk.reference), _count(hunk.tested)
        if not hunk.equal:
            gap = lengths
            continue
        are_text = (
            _is_text(trace, mask, start - length, start)
            for trace, mask, start, length in zip(sides, is_text, starts, gap, strict=True)
        )
        is_explained = not any(gap) or (text_advances_by_one and (is_plain or all(are_text)))
        yield _Segment(*starts, lengths[0], gap[1] - gap[0] if is_explained else None)
        gap = 0, 0


def _count(runs: Iterable[TokenRun]) -> int:
    return sum(count for _, count in runs)


def _has_known_spans(trace: Trace) -> bool:
    """Return whether the spans of a side are known, and within its ids."""
    length = len(trace.input_ids or ())
    return trace.spans is not None and all(span.offset + span.length <= length for span in trace.spans)


def _align_ids(pair: TracePair, is_plain: bool) -> tuple[Hunk, ...]:
    """Align the ids of both sides.

    Unless positions are consecutive, a medium of which only a part has a counterpart has none.
    """
    sides = pair.reference, pair.tested
    keys = sorted({_get_key(span) for trace in sides for span in trace.spans or ()})
    same = set(keys) if is_plain else _find_same_media(pair)
    while True:
        labels = {key: -1 - number for number, key in enumerate(keys)}
        others = {key: label if key in same else label - len(keys) for key, label in labels.items()}
        hunks = align_sequences(_label_ids(pair.reference, labels), _label_ids(pair.tested, others))
        unequal = {token for hunk in hunks if not hunk.equal for token, _ in (*hunk.reference, *hunk.tested)}
        parted = set() if is_plain else {key for key in same if labels[key] in unequal}
        if not parted:
            return hunks
        same -= parted


def _find_same_media(pair: TracePair) -> set[Medium]:
    """Return the media with the same fields and the same layout on both sides.

    Media that are interleaved, such as the audio of a video with its frames, take positions from each other:
    they do not correspond at all.
    """
    sides = []
    for trace in (pair.reference, pair.tested):
        fields = {(medium.modality, medium.item): medium.fields for medium in trace.media or ()}
        spans = sorted(trace.spans or (), key=lambda span: span.offset)
        mixed = {_get_key(span) for both in pairwise(spans) if _overlap(*both) for span in both}
        sides.append(
            {
                _get_key(span): (fields[_get_key(span)], span.embedded, len(span.runs))
                for span in spans
                if _get_key(span) in fields and _get_key(span) not in mixed
            }
        )
    reference, tested = sides
    return {key for key, layout in reference.items() if tested.get(key) == layout}


def _overlap(first: Span, second: Span) -> bool:
    return second.offset < first.offset + first.length


def _label_ids(trace: Trace, labels: Mapping[Medium, int]) -> list[int]:
    """Return the ids, with the label of the medium where features replace them."""
    ids = list(trace.input_ids or ())
    for span in trace.spans or ():
        for position in span.positions:
            ids[position] = labels[_get_key(span)]
    return ids


def _is_text(trace: Trace, is_text: np.ndarray, start: int, stop: int) -> bool:
    """Return whether ids [start, stop) of a side are text, and not inside a medium such as a video."""
    is_inside = any(span.offset < start and stop < span.offset + span.length for span in trace.spans or ())
    return bool(is_text[start:stop].all()) and not is_inside


def build_span_mask(trace: Trace) -> np.ndarray:
    """Return a mask, bool [ids], of the positions that media features replace on a side."""
    inside = np.zeros(len(trace.input_ids or ()), dtype=bool)
    for span in trace.spans or ():
        inside[span.positions] = True
    return inside


def _get_key(span: Span) -> Medium:
    return span.modality, span.item
