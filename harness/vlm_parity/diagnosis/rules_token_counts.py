"""Rules on how many positions a medium holds: rows of its grid, frames, or another size altogether."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt, prod
from typing import Literal

from vlm_parity.diagnosis.frame_sampling import frame_sampling_differs
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
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
class _CountExplanation:
    """What is made of one medium whose count differs."""

    kind: Literal["rows", "frames", "size"]
    confidence: float
    why: str


@register_rule("placeholder count differs by grid rows", Stage.INPUT_IDS)
def explain_row_count(finding: RuleInput) -> Explanation | None:
    """Whole rows are missing, or are too many."""
    return _explain_kind(finding, "rows")


@register_rule("image resized differently", Stage.INPUT_IDS)
def explain_resized(finding: RuleInput) -> Explanation | None:
    """The count differs in no way that rows or frames tell."""
    return _explain_kind(finding, "size")


@register_rule("frames sampled differently", Stage.INPUT_IDS)
def explain_frame_count(finding: RuleInput) -> Explanation | None:
    """A video has more frames, or fewer, of the same size, or other ones of the file."""
    words = frame_sampling_differs(finding)
    return (1.0, f"{words}.") if words else _explain_kind(finding, "frames")


def _explain_kind(finding: RuleInput, kind: str) -> Explanation | None:
    found = _differing_counts(finding)
    if not found:
        return None
    readings = [_explain_count(finding, *spans) for spans in found]
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


def _differing_counts(finding: RuleInput) -> list[tuple[Span, Span]]:
    """The media that hold another number of positions; none where their order has changed, or where
    they cannot be told.
    """
    ours, theirs = finding.pair.reference.spans or (), finding.pair.tested.spans or ()
    counts, others = ([(span.modality, span.embedded) for span in spans] for spans in (ours, theirs))
    if sorted(counts) == sorted(others) or [m for m, _ in counts] != [m for m, _ in others]:
        return []
    pairs = zip(ours, theirs, strict=True)
    return [(a, b) for a, b in pairs if a.embedded != b.embedded and a.embedded and b.embedded]


def _explain_count(finding: RuleInput, reference: Span, tested: Span) -> _CountExplanation:
    ours, theirs = _grids(finding, reference, tested)
    if ours is None:
        return _without_grid(reference, tested)
    if theirs is not None and ours != theirs:
        same_frames = (ours.height, ours.width) == (theirs.height, theirs.width)
        return _CountExplanation(
            "frames" if same_frames else "size", 0.95, f"its grid is {theirs}, not {ours}"
        )
    change = tested.embedded - reference.embedded
    confidence = 0.95 if theirs is not None else 0.8
    frame = ours.height * ours.width
    if ours.time > 1 and change % frame == 0:
        return _CountExplanation(
            "frames", confidence, f"{_format_change(change, frame, 'frame')} of its grid {ours}"
        )
    if change % ours.width == 0:
        return _CountExplanation(
            "rows", confidence, f"{_format_change(change, ours.width, 'row')} of its grid {ours}"
        )
    return _CountExplanation("size", confidence - 0.15, f"no whole rows of its grid {ours}")


def _without_grid(reference: Span, tested: Span) -> _CountExplanation:
    """By what divides both counts: a row, if only one or two are off; a frame, if each has a run."""
    change = tested.embedded - reference.embedded
    frames = {stop - start for span in (reference, tested) for start, stop in span.runs}
    if len(reference.runs) != len(tested.runs) and len(frames) == 1:
        return _CountExplanation("frames", 0.9, _format_change(change, frames.pop(), "frame"))
    row = gcd(reference.embedded, tested.embedded)
    if row >= _FEWEST and abs(change) <= _ROWS * row:
        if reference.modality == "video":
            ratio = f"{tested.embedded // row} to {reference.embedded // row}"
            return _CountExplanation("frames", 0.5, f"{ratio}, which whole frames explain; no grid tells")
        return _CountExplanation(
            "rows", 0.6, f"{_format_change(change, row, 'row')}, as far as the common divisor tells"
        )
    return _CountExplanation("size", 0.6, "no whole rows, as far as the counts tell")


def _format_change(change: int, size: int, name: str) -> str:
    count = abs(change) // size
    plural = "s" if count > 1 else ""
    return f"{count} {name}{plural} of {size} too {'many' if change > 0 else 'few'}"


def _grids(finding: RuleInput, reference: Span, tested: Span) -> tuple[_Grid | None, _Grid | None]:
    """The medium's grids on both sides, as far as the traces tell. How many patches are merged into a
    position is read off the reference: the other side's count may be wrong.
    """
    ours = _patches(finding.pair.reference, reference)
    theirs = _patches(finding.pair.tested, tested)
    side = isqrt(prod(ours) // reference.embedded) if ours else 0
    if ours is None or not side:
        return None, None
    return _merge_patches(ours, side), _merge_patches(theirs, side) if theirs else None


def _merge_patches(patches: tuple[int, int, int], side: int) -> _Grid:
    time, height, width = patches
    return _Grid(time, height // side, width // side)


def _patches(trace: Trace, span: Span) -> tuple[int, int, int] | None:
    for medium in trace.media or ():
        if (medium.modality, medium.item) == (span.modality, span.item) and "grid" in medium.fields:
            time, height, width = (int(size) for size in medium.fields["grid"])
            return time, height, width
    return None
