"""Rules on the number of positions of a medium: rows of its grid, frames, or a different size."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt, prod
from typing import Literal

from vlm_parity.diagnosis.frame_sampling import describe_frame_sampling_difference
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Span, Stage, Trace

_FEWEST = 2  # length of the shortest row that a common divisor indicates
_ROWS = 2  # the largest difference in rows if only a common divisor indicates their length


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
    """Explanation of one medium whose number of positions differs."""

    kind: Literal["rows", "frames", "size"]
    confidence: float
    why: str


@register_rule("placeholder count differs by grid rows", Stage.INPUT_IDS)
def explain_row_count(rule_input: RuleInput) -> Explanation | None:
    """Detect missing or surplus rows of the grid."""
    return _explain_kind(rule_input, "rows")


@register_rule("image resized differently", Stage.INPUT_IDS)
def explain_resized(rule_input: RuleInput) -> Explanation | None:
    """Detect a different size that neither rows nor frames explain."""
    return _explain_kind(rule_input, "size")


@register_rule("frames sampled differently", Stage.INPUT_IDS)
def explain_frame_count(rule_input: RuleInput) -> Explanation | None:
    """Detect a video with a different number of frames of the same size, or sampled differently."""
    sentence = describe_frame_sampling_difference(rule_input)
    return (1.0, f"{sentence}.") if sentence else _explain_kind(rule_input, "frames")


def _explain_kind(rule_input: RuleInput, kind: str) -> Explanation | None:
    pairs = _differing_counts(rule_input)
    if not pairs:
        return None
    explanations = [_explain_count(rule_input, *spans) for spans in pairs]
    if explanations[0].kind != kind:
        return None
    reference, tested = pairs[0]
    others = f" {len(pairs)} media differ." if len(pairs) > 1 else ""
    sentence = (
        f"{reference.modality} {reference.item} has {tested.embedded} positions in "
        f"{rule_input.pair.tested.backend} and {reference.embedded} in the reference: "
        f"{explanations[0].why}.{others}"
    )
    is_uniform = all(explanation.kind == kind for explanation in explanations)
    return explanations[0].confidence * (1 if is_uniform else 0.8), sentence


def _differing_counts(rule_input: RuleInput) -> list[tuple[Span, Span]]:
    """Return the media whose numbers of positions differ; none if the media are reordered or differ."""
    reference, tested = rule_input.pair.reference.spans or (), rule_input.pair.tested.spans or ()
    counts, others = ([(span.modality, span.embedded) for span in spans] for spans in (reference, tested))
    if sorted(counts) == sorted(others) or [m for m, _ in counts] != [m for m, _ in others]:
        return []
    pairs = zip(reference, tested, strict=True)
    return [(a, b) for a, b in pairs if a.embedded != b.embedded and a.embedded and b.embedded]


def _explain_count(rule_input: RuleInput, reference: Span, tested: Span) -> _CountExplanation:
    reference_grid, tested_grid = _grids(rule_input, reference, tested)
    if reference_grid is None:
        return _without_grid(reference, tested)
    if tested_grid is not None and reference_grid != tested_grid:
        same_frames = (reference_grid.height, reference_grid.width) == (tested_grid.height, tested_grid.width)
        return _CountExplanation(
            "frames" if same_frames else "size", 0.95, f"its grid is {tested_grid}, not {reference_grid}"
        )
    change = tested.embedded - reference.embedded
    confidence = 0.95 if tested_grid is not None else 0.8
    frame = reference_grid.height * reference_grid.width
    if reference_grid.time > 1 and change % frame == 0:
        return _CountExplanation(
            "frames", confidence, f"{_format_change(change, frame, 'frame')} of its grid {reference_grid}"
        )
    if change % reference_grid.width == 0:
        return _CountExplanation(
            "rows",
            confidence,
            f"{_format_change(change, reference_grid.width, 'row')} of its grid {reference_grid}",
        )
    return _CountExplanation("size", confidence - 0.15, f"no whole rows of its grid {reference_grid}")


def _without_grid(reference: Span, tested: Span) -> _CountExplanation:
    """Explain the counts by their common divisor: a frame if each has a run, or a row if few rows differ."""
    change = tested.embedded - reference.embedded
    frames = {stop - start for span in (reference, tested) for start, stop in span.runs}
    if len(reference.runs) != len(tested.runs) and len(frames) == 1:
        return _CountExplanation("frames", 0.9, _format_change(change, frames.pop(), "frame"))
    row = gcd(reference.embedded, tested.embedded)
    if row >= _FEWEST and abs(change) <= _ROWS * row:
        if reference.modality == "video":
            ratio = f"{tested.embedded // row} to {reference.embedded // row}"
            return _CountExplanation(
                "frames", 0.5, f"{ratio}, which whole frames explain; the grid is unknown"
            )
        return _CountExplanation(
            "rows", 0.6, f"{_format_change(change, row, 'row')}, according to the common divisor"
        )
    return _CountExplanation("size", 0.6, "no whole rows, according to the counts")


def _format_change(change: int, size: int, name: str) -> str:
    count = abs(change) // size
    plural = "s" if count > 1 else ""
    return f"{count} {name}{plural} of {size} too {'many' if change > 0 else 'few'}"


def _grids(rule_input: RuleInput, reference: Span, tested: Span) -> tuple[_Grid | None, _Grid | None]:
    """Return the grids of a medium on both sides, if known.

    The number of patches per position comes from the reference, since the tested count may be wrong.
    """
    reference_grid = _patches(rule_input.pair.reference, reference)
    tested_grid = _patches(rule_input.pair.tested, tested)
    side = isqrt(prod(reference_grid) // reference.embedded) if reference_grid else 0
    if reference_grid is None or not side:
        return None, None
    return _merge_patches(reference_grid, side), _merge_patches(tested_grid, side) if tested_grid else None


def _merge_patches(patches: tuple[int, int, int], side: int) -> _Grid:
    time, height, width = patches
    return _Grid(time, height // side, width // side)


def _patches(trace: Trace, span: Span) -> tuple[int, int, int] | None:
    for medium in trace.media or ():
        if (medium.modality, medium.item) == (span.modality, span.item) and "grid" in medium.fields:
            time, height, width = (int(size) for size in medium.fields["grid"])
            return time, height, width
    return None
