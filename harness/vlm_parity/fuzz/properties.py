"""What has to hold of every answer, whatever was asked."""

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
"""Exceptions that a program raises where it has not thought of the input."""
_AXES = {1, 3, 4}
"""Of positions: text positions; time, height and width; those and the text's."""


class PropertyChecker:
    """The invariants of the answers about one model."""

    def __init__(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        """Args:
        checkpoint: of the model.
        config: the content of ``config.json``.
        """
        self._family = load_family(checkpoint.family) if checkpoint.family in FAMILIES else None
        self._config = config

    def find_broken(self, case: Case, answer: FrontendTrace) -> Iterator[tuple[Stage, str]]:
        """What does not hold of an answer to a case, each with the stage that it is about."""
        trace = answer.trace
        if trace.outcome is not Outcome.CAPTURED or trace.input_ids is None:
            return
        if trace.spans is not None:
            yield from ((Stage.SPANS, said) for said in self._spans(case, trace, trace.spans))
        yield from ((Stage.POSITIONS, said) for said in _positions(answer.folder, len(trace.input_ids)))

    def _spans(self, case: Case, trace: Trace, spans: tuple[Span, ...]) -> Iterator[str]:
        heard = sum(isinstance(part, VideoPart) and part.has_audio_track for _, part in case.media)
        held = sum(1 for _ in case.media) + heard
        if len(spans) != held:
            yield f"{held} media, {len(spans)} spans"
        for span in spans:
            if any(start < 0 or stop > len(trace.input_ids or ()) for start, stop in span.runs):
                yield f"{span.modality} {span.item} reaches beyond the sequence"
        taken: set[int] = set()
        last: dict[str, int] = {}
        for span in spans:
            if taken.intersection(span.positions):
                yield f"{span.modality} {span.item} shares positions with a medium before it"
            if span.item != last.get(span.modality, -1) + 1:
                yield f"{span.modality} {span.item} is out of order"
            taken.update(span.positions)
            last[span.modality] = span.item
        yield from self._lengths(trace, spans)

    def _lengths(self, trace: Trace, spans: tuple[Span, ...]) -> Iterator[str]:
        """Where a family knows how many features a medium gives, its span is as long."""
        if self._family is None:
            return
        fields = {(medium.modality, medium.item): medium.fields for medium in trace.media or ()}
        for span in spans:
            found = fields.get((span.modality, span.item))
            count = self._family.count_features(self._config, found) if found is not None else None
            if count is not None and count != span.embedded:
                yield f"{span.modality} {span.item} gives {count} features for {span.embedded} positions"


def _positions(folder: Path, length: int) -> Iterator[str]:
    with open_arrays(folder) as tensors:
        if tensors is None or Stage.POSITIONS not in tensors:
            return
        positions = tensors.read(Stage.POSITIONS)
        if positions.shape[0] not in _AXES or positions.shape[1] != length:
            yield f"positions of the shape {positions.shape} for {length} ids"
        elif not np.isfinite(positions).all() or (positions < 0).any():
            yield "a position is below zero, or none"


def is_clear_refusal(message: str) -> bool:
    """Whether a refusal says what is wrong with the input: in words, and not by an accident."""
    kind, _, words = message.partition(":")
    return kind not in INTERNAL_ERRORS and bool(re.search(r"\w+ \w+", words or kind))


def compare_traces(one: FrontendTrace, other: FrontendTrace) -> str:
    """At which stage two answers of one engine to the same case differ; empty where they are the same."""
    if one.trace.outcome is not other.trace.outcome:
        return f"{one.trace.outcome}, then {other.trace.outcome}"
    for name in ("prompt", "input_ids", "spans", "media"):
        if getattr(one.trace, name) != getattr(other.trace, name):
            return name
    if _read_arrays(one.folder) == _read_arrays(other.folder):
        return ""
    return _find_differing_array(one.folder, other.folder)


def _read_arrays(folder: Path) -> bytes:
    file = folder / ARRAY_FILE
    return file.read_bytes() if file.exists() else b""


def _find_differing_array(one: Path, other: Path) -> str:
    with open_arrays(one) as left, open_arrays(other) as right:
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
