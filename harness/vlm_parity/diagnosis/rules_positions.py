"""Rules on positions, the inputs of the rotary embedding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlm_parity.diagnosis.arrays import open_array_files
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.aligned_positions import AlignedPositions, build_span_mask
from vlm_parity.diff.stages.positions import read_aligned_positions
from vlm_parity.schema.trace import DECODE_POSITIONS, Stage

_MROPE = 3  # axes: time, height, width
_SHOWN = 6  # times


@register_rule("mrope replaced by text positions", Stage.POSITIONS)
def explain_text_positions(rule_input: RuleInput) -> Explanation | None:
    """Detect text positions on every axis in place of mrope positions."""
    reference, tested = _read_positions(rule_input)
    aligned = _align(rule_input)
    plain = np.arange(tested.shape[1]) if aligned is None else aligned.tested_index
    if (tested != plain).any() or (reference - reference[:, :1] == plain - plain[0]).all():
        return None
    return 1.0, (
        f"{rule_input.pair.tested.backend} numbers its {tested.shape[1]} tokens consecutively; in the "
        "reference each medium has positions in time, height and width."
    )


@register_rule("position offset differs", Stage.POSITIONS)
def explain_start(rule_input: RuleInput) -> Explanation | None:
    """Detect a constant offset of all positions."""
    reference, tested = _read_positions(rule_input)
    if reference.shape != tested.shape or len(np.unique(tested - reference)) != 1:
        return None
    if (reference == tested).all():
        return None
    return 1.0, (
        f"All {reference.shape[1]} positions are off by {tested[0, 0] - reference[0, 0]:+g}: they start at "
        f"{reference[0, 0]:g} in the reference and at {tested[0, 0]:g} in {rule_input.pair.tested.backend}. "
        f"Rotary embeddings encode distances only, so outputs may still agree.{_note_shift(rule_input)}"
    )


@register_rule("shift behind different ids differs", Stage.POSITIONS)
def explain_shift(rule_input: RuleInput) -> Explanation | None:
    """Detect ids of one side that do not shift the positions behind them by their number."""
    aligned = _align(rule_input)
    if aligned is None:
        return None
    rest = aligned.tested - aligned.reference
    first = int(rest.any(axis=0).argmax())
    if not first or len(np.unique(rest[:, first:])) != 1:
        return None
    return 0.8, (
        f"From index {aligned.index[first]} of the reference on, the positions are shifted by "
        f"{aligned.shift[0, first] + rest[0, first]:+g} in {rule_input.pair.tested.backend}; the ids that "
        f"only one side has, in front of it, shift them by {aligned.shift[0, first]:+g}."
    )


@register_rule("text position after media differs", Stage.POSITIONS)
def explain_text_after_media(rule_input: RuleInput) -> Explanation | None:
    """Detect text that continues with a different position after a medium with equal positions."""
    whole, tested = _read_positions(rule_input)
    cached = rule_input.pair.tested.cached_tokens  # without these positions
    reference, embedded = whole[:, cached:], _embedded(rule_input)
    if reference.shape != tested.shape or not embedded.any() or embedded.all():
        return None
    if (reference == tested).all():
        return None
    row = int((reference != tested).any(axis=0).argmax())
    first = cached + row
    if embedded[first] or not embedded[:first].any():
        return None
    shifts = (tested - reference)[:, row]
    if len(set(shifts.tolist())) != 1:
        return None
    is_border = cached > 0 and row == 0  # it may have begun inside the cached part
    start = (
        f"Behind {cached} cached positions"
        if is_border
        else f"The positions agree up to token {_index(rule_input, first)}"
    )
    return 0.6 if is_border else 0.9, (
        f"{start}; the text after the medium continues at {tested[0, row]} in "
        f"{rule_input.pair.tested.backend} and at {reference[0, row]} in the reference, whose largest "
        f"position before is {whole[:, :first].max()}.{_note_shift(rule_input)}"
    )


@register_rule("decoding positions differ", Stage.POSITIONS)
def explain_decoding(rule_input: RuleInput) -> Explanation | None:
    """Detect decoding that goes on at other positions behind a prompt with equal ones."""
    if not rule_input.diff.metrics.get("decode_different"):
        return None
    left, right = open_array_files(rule_input)
    prompt = left.read(Stage.POSITIONS)
    starts = [side.read(DECODE_POSITIONS)[0, 0] for side in (left, right)]
    return 1.0, (
        f"The positions of the prompt agree. The first decoded token has position {starts[1]} in "
        f"{rule_input.pair.tested.backend} and {starts[0]} in the reference; the largest position of the "
        f"prompt is {prompt.max():g}, the last {prompt[0, -1]:g}."
    )


@register_rule("temporal position steps lost", Stage.POSITIONS)
def explain_lost_steps(rule_input: RuleInput) -> Explanation | None:
    """Detect a medium with a single time, although the reference advances with each group of frames."""
    for name, reference, tested, is_only_axis in _time_differences(rule_input):
        if len(tested) == 1 < len(reference):
            rest = "height and width agree" if is_only_axis else "the other axes differ, too"
            return 0.95 if is_only_axis else 0.8, (
                f"All temporal positions of {name} are {tested[0]:g} in {rule_input.pair.tested.backend}; "
                f"they are {_format_times(reference)} in the reference; {rest}."
            )
    return None


@register_rule("temporal position offset differs", Stage.POSITIONS)
def explain_time_start(rule_input: RuleInput) -> Explanation | None:
    """Detect a constant offset of a medium's temporal positions; height and width agree."""
    for name, reference, tested, is_only_axis in _time_differences(rule_input):
        if is_only_axis and len(reference) == len(tested) and len(set(np.subtract(tested, reference))) == 1:
            return 0.9, (
                f"The temporal positions of {name} start at {tested[0]:g} in "
                f"{rule_input.pair.tested.backend} and at {reference[0]:g} in the reference; height and "
                f"width agree.{_note_shift(rule_input)}"
            )
    return None


@register_rule("media positions differ", Stage.POSITIONS, is_general=True)
def explain_media_positions(rule_input: RuleInput) -> Explanation | None:
    """Detect different positions inside a medium, on some axes."""
    reference, tested = _read_positions(rule_input)
    if reference.shape != tested.shape:
        return None
    inside = (reference != tested) & _embedded(rule_input)
    if not inside.any():
        return None
    names = ("time", "height", "width") if len(reference) == 3 else ("text",)
    axes = [name for name, row in zip(names, inside, strict=False) if row.any()]
    return 0.5, f"The positions of {int(inside.any(axis=0).sum())} media tokens differ on: {', '.join(axes)}."


@register_rule("fractional positions truncated", Stage.POSITIONS)
def explain_truncated_positions(rule_input: RuleInput) -> Explanation | None:
    """Detect fractional positions rounded down to integers."""
    reference, tested = _read_positions(rule_input)
    if (
        reference.shape != tested.shape
        or (np.floor(reference) == reference).all()
        or (np.floor(reference) != tested).any()
    ):
        return None
    cut = int((reference != tested).any(axis=0).sum())
    return (
        1.0,
        f"{rule_input.pair.tested.backend} truncates {cut} positions that are fractional in the reference.",
    )


def _time_differences(rule_input: RuleInput) -> Iterator[tuple[str, list[float], list[float], bool]]:
    """Yield each medium whose temporal positions differ.

    Yields:
        The name, the distinct times of the reference and of the tested side, and whether the other axes
        agree.
    """
    reference, tested = _read_positions(rule_input)
    if reference.shape != tested.shape or len(reference) != _MROPE:
        return
    aligned = _align(rule_input)
    for span in rule_input.pair.reference.spans or ():
        rows = span.positions if aligned is None else np.isin(aligned.index, span.positions)
        sides = reference[:, rows], tested[:, rows]
        if (sides[0][0] != sides[1][0]).any():
            times = (np.unique(side[0]).tolist() for side in sides)
            yield f"{span.modality} {span.item}", *times, bool((sides[0][1:] == sides[1][1:]).all())


def _format_times(times: list[float]) -> str:
    shown = ", ".join(f"{time:g}" for time in times[:_SHOWN])
    return shown if len(times) <= _SHOWN else f"{shown} and so on"


def _read_positions(rule_input: RuleInput) -> tuple[np.ndarray, np.ndarray]:
    """Read the positions of both sides, int64 or float64 [axes, positions].

    If the ids differ, these are the positions of corresponding ids, the reference's with the shift that is
    expected of the tested side.
    """
    aligned = _align(rule_input)
    if aligned is not None:
        return aligned.reference + aligned.shift, aligned.tested + aligned.shift
    left, right = open_array_files(rule_input)
    return left.read(Stage.POSITIONS), right.read(Stage.POSITIONS)


def _align(rule_input: RuleInput) -> AlignedPositions | None:
    """Return the aligned positions, if only corresponding ids were compared."""
    return read_aligned_positions(rule_input.pair) if rule_input.diff.is_relative else None


def _index(rule_input: RuleInput, row: int) -> int:
    """Return the index in the reference's prompt of a compared position."""
    aligned = _align(rule_input)
    return row if aligned is None else int(aligned.index[row])


def _note_shift(rule_input: RuleInput) -> str:
    return (
        " Those of the reference include the shift by ids that only one side has."
        if rule_input.diff.is_relative
        else ""
    )


def _embedded(rule_input: RuleInput) -> np.ndarray:
    mask = build_span_mask(rule_input.pair.reference)
    aligned = _align(rule_input)
    return mask if aligned is None else mask[aligned.index]
