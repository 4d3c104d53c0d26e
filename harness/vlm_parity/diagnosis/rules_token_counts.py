"""Rules on how many positions a medium holds: rows of its grid, frames, or another size altogether."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt, prod
from typing import Literal

from vlm_parity.diagnosis.frame_sampling import other_frames
from vlm_parity.diagnosis.registry import Explanation, Finding, rule
from vlm_parity.schema.trace import Span, Stage, Trace

_FEWEST = 2  # positions of the smallest row that a common divisor tells
_ROWS = 2  # as many may be off where only a common divisor tells how wide they are


@dataclass(frozen=True)
class _Grid:
    """Time, height and width of a medium in positions, patches merged."""

    time: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.time} x {self.height} x {self.width}"


@dataclass(frozen=True)
class _Reading:
    """What is made of one medium whose count differs."""

    kind: Literal["rows", "frames", "size"]
    confidence: float
    why: str


@rule("placeholder count differs by grid rows", Stage.INPUT_IDS)
def off_by_rows(finding: Finding) -> Explanation | None:
    """Whole rows are missing, or are too many."""
    return _explained(finding, "rows")


@rule("image resized differently", Stage.INPUT_IDS)
def resized(finding: Finding) -> Explanation | None:
    """The count differs in no way that rows or frames tell."""
    return _explained(finding, "size")


@rule("frames sampled differently", Stage.INPUT_IDS)
def sampled(finding: Finding) -> Explanation | None:
    """A video has more frames, or fewer, of the same size, or other ones of the file."""
    words = other_frames(finding)
    return (1.0, f"{words}.") if words else _explained(finding, "frames")


def _explained(finding: Finding, kind: str) -> Explanation | None:
    found = _other_counts(finding)
    if not found:
        return None
    readings = [_read(finding, *spans) for spans in found]
    if readings[0].kind != kind:
        return None
    reference, tested = found[0]
    others = f" {len(found)} media differ so." if len(found) > 1 else ""
    words = (
        f"{reference.modality} {reference.item} holds {tested.embedded} positions in "
        f"{finding.pair.tested.backend} and {reference.embedded} in the reference: {readings[0].why}.{others}"
    )
    alike = all(reading.kind == kind for reading in readings)
    return readings[0].confidence * (1 if alike else 0.8), words


def _other_counts(finding: Finding) -> list[tuple[Span, Span]]:
    """The media that hold another number of positions; none where their order has changed, or where
    they cannot be told."""
    ours, theirs = finding.pair.reference.spans or (), finding.pair.tested.spans or ()
    counts, others = ([(span.modality, span.embedded) for span in spans] for spans in (ours, theirs))
    if sorted(counts) == sorted(others) or [m for m, _ in counts] != [m for m, _ in others]:
        return []
    pairs = zip(ours, theirs, strict=True)
    return [(a, b) for a, b in pairs if a.embedded != b.embedded and a.embedded and b.embedded]


def _read(finding: Finding, reference: Span, tested: Span) -> _Reading:
    ours, theirs = _grids(finding, reference, tested)
    if ours is None:
        return _without_grid(reference, tested)
    if theirs is not None and ours != theirs:
        same_frames = (ours.height, ours.width) == (theirs.height, theirs.width)
        return _Reading("frames" if same_frames else "size", 0.95, f"its grid is {theirs}, not {ours}")
    change = tested.embedded - reference.embedded
    confidence = 0.95 if theirs is not None else 0.8
    frame = ours.height * ours.width
    if ours.time > 1 and change % frame == 0:
        return _Reading("frames", confidence, f"{_off(change, frame, 'frame')} of its grid {ours}")
    if change % ours.width == 0:
        return _Reading("rows", confidence, f"{_off(change, ours.width, 'row')} of its grid {ours}")
    return _Reading("size", confidence - 0.15, f"no whole rows of its grid {ours}")


def _without_grid(reference: Span, tested: Span) -> _Reading:
    """By what divides both counts: a row, if only one or two are off; a frame, if each has a run."""
    change = tested.embedded - reference.embedded
    frames = {stop - start for span in (reference, tested) for start, stop in span.runs}
    if len(reference.runs) != len(tested.runs) and len(frames) == 1:
        return _Reading("frames", 0.9, _off(change, frames.pop(), "frame"))
    row = gcd(reference.embedded, tested.embedded)
    if row >= _FEWEST and abs(change) <= _ROWS * row:
        if reference.modality == "video":
            ratio = f"{tested.embedded // row} to {reference.embedded // row}"
            return _Reading("frames", 0.5, f"{ratio}, which whole frames explain; no grid tells")
        return _Reading("rows", 0.6, f"{_off(change, row, 'row')}, as far as the common divisor tells")
    return _Reading("size", 0.6, "no whole rows, as far as the counts tell")


def _off(change: int, size: int, name: str) -> str:
    count = abs(change) // size
    plural = "s" if count > 1 else ""
    return f"{count} {name}{plural} of {size} too {'many' if change > 0 else 'few'}"


def _grids(finding: Finding, reference: Span, tested: Span) -> tuple[_Grid | None, _Grid | None]:
    """The medium's grids on both sides, as far as the traces tell. How many patches are merged into a
    position is read off the reference: the other side's count may be wrong."""
    ours = _patches(finding.pair.reference, reference)
    theirs = _patches(finding.pair.tested, tested)
    side = isqrt(prod(ours) // reference.embedded) if ours else 0
    if ours is None or not side:
        return None, None
    return _merged(ours, side), _merged(theirs, side) if theirs else None


def _merged(patches: tuple[int, int, int], side: int) -> _Grid:
    time, height, width = patches
    return _Grid(time, height // side, width // side)


def _patches(trace: Trace, span: Span) -> tuple[int, int, int] | None:
    for medium in trace.media or ():
        if (medium.modality, medium.item) == (span.modality, span.item) and "grid" in medium.fields:
            time, height, width = (int(size) for size in medium.fields["grid"])
            return time, height, width
    return None
