"""Properties that every trace has to satisfy, whatever the case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlm_parity.fuzz.frontends import FrontendTrace
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.models.registry import FAMILIES, load_family
from vlm_parity.schema.case import Case, VideoPart
from vlm_parity.schema.trace import ARRAY_FILE, Outcome, Span, Stage, Trace
from vlm_parity.schema.trace_arrays import open_arrays

INTERNAL_ERRORS = (
    "AttributeError",
    "IndexError",
    "KeyError",
    "NameError",
    "RecursionError",
    "StopIteration",
    "TypeError",
    "UnboundLocalError",
    "ZeroDivisionError",
)
"""Exceptions that indicate a missing check of the input."""
_AXES = {1, 3, 4}
"""The possible numbers of axes of positions: text; time, height and width; both."""


class PropertyChecker:
    """Checks the properties of the traces of one model.

    Args:
        checkpoint: of the model.
        config: the content of ``config.json``.
    """

    def __init__(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None
        self._config = config

    def check(self, case: Case, captured: FrontendTrace) -> Iterator[tuple[Stage, str]]:
        """Yield the violations in the trace of a case, each with its stage."""
        trace = captured.trace
        if trace.outcome is not Outcome.CAPTURED or trace.input_ids is None:
            return
        if trace.spans is not None:
            yield from ((Stage.SPANS, message) for message in self._check_spans(case, trace, trace.spans))
        yield from (
            (Stage.POSITIONS, message) for message in _check_positions(captured.folder, len(trace.input_ids))
        )

    def _check_spans(self, case: Case, trace: Trace, spans: tuple[Span, ...]) -> Iterator[str]:
        audio_tracks = sum(isinstance(part, VideoPart) and part.has_audio_track for _, part in case.media)
        media = sum(1 for _ in case.media) + audio_tracks
        if len(spans) != media:
            yield f"{media} media, {len(spans)} spans"
        for span in spans:
            if any(start < 0 or stop > len(trace.input_ids or ()) for start, stop in span.runs):
                yield f"{span.modality} {span.item} extends beyond the sequence"
        covered: set[int] = set()
        last: dict[str, int] = {}
        for span in spans:
            if covered.intersection(span.positions):
                yield f"{span.modality} {span.item} overlaps an earlier span"
            if span.item != last.get(span.modality, -1) + 1:
                yield f"{span.modality} {span.item} is out of order"
            covered.update(span.positions)
            last[span.modality] = span.item
        yield from self._check_lengths(trace, spans)

    def _check_lengths(self, trace: Trace, spans: tuple[Span, ...]) -> Iterator[str]:
        """Compare the lengths of the spans with the feature counts, if the family defines them."""
        if self._family is None:
            return
        fields = {(medium.modality, medium.item): medium.fields for medium in trace.media or ()}
        for span in spans:
            medium = fields.get((span.modality, span.item))
            count = self._family.count_features(self._config, medium) if medium is not None else None
            if count is not None and count != span.embedded:
                yield f"{span.modality} {span.item} has {count} features for {span.embedded} positions"


def _check_positions(folder: Path, length: int) -> Iterator[str]:
    with open_arrays(folder) as arrays:
        if arrays is None or Stage.POSITIONS not in arrays:
            return
        positions = arrays.read(Stage.POSITIONS)
        if positions.shape[0] not in _AXES or positions.shape[1] != length:
            yield f"positions of the shape {positions.shape} for {length} ids"
        elif not np.isfinite(positions).all() or (positions < 0).any():
            yield "a position is negative or not finite"


def is_clear_refusal(message: str) -> bool:
    """Return whether the message of a refusal describes the fault in the input, not an internal error."""
    name, _, text = message.partition(":")
    return name not in INTERNAL_ERRORS and bool(re.search(r"\w+ \w+", text or name))


def compare_traces(first: FrontendTrace, second: FrontendTrace) -> str:
    """Return the first stage or array that differs between two traces of one case; empty if none does."""
    if first.trace.outcome is not second.trace.outcome:
        return f"{first.trace.outcome}, then {second.trace.outcome}"
    for name in ("prompt", "input_ids", "spans", "media"):
        if getattr(first.trace, name) != getattr(second.trace, name):
            return name
    if _read_arrays(first.folder) == _read_arrays(second.folder):
        return ""
    return _find_differing_array(first.folder, second.folder)


def _read_arrays(folder: Path) -> bytes:
    file = folder / ARRAY_FILE
    return file.read_bytes() if file.exists() else b""


def _find_differing_array(first: Path, second: Path) -> str:
    with open_arrays(first) as left, open_arrays(second) as right:
        if left is None or right is None:
            return "arrays"
        if left.names != right.names:
            return "arrays"
        different = (
            name
            for name in sorted(left.names)
            if not np.array_equal(left.read(name), right.read(name), equal_nan=True)
        )
        return next(different, "")
