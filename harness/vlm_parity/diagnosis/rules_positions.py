"""Rules for positions: what the rotary embedding is given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlm_parity.diagnosis.arrays import open_array_files
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage

_MROPE = 3  # axes: time, height, width
_SHOWN = 6  # times


@register_rule("mrope replaced by text positions", Stage.POSITIONS)
def explain_text_positions(finding: RuleInput) -> Explanation | None:
    """Every axis counts the tokens, where the reference's axes part inside a medium."""
    ours, theirs = _both(finding)
    plain = np.arange(theirs.shape[1])
    if (theirs != plain).any() or (ours - ours[:, :1] == plain).all():
        return None
    return 1.0, (
        f"{finding.pair.tested.backend} numbers its {theirs.shape[1]} tokens one by one; the reference gives "
        f"each medium positions in time, height and width."
    )


@register_rule("position offset differs", Stage.POSITIONS)
def explain_start(finding: RuleInput) -> Explanation | None:
    """All positions are off by the same number."""
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape or len(np.unique(theirs - ours)) != 1:
        return None
    return 1.0, (
        f"All {ours.shape[1]} positions are off by {theirs[0, 0] - ours[0, 0]:+g}: the reference's start at "
        f"{ours[0, 0]:g}, those of {finding.pair.tested.backend} at {theirs[0, 0]:g}. Rotary embeddings tell "
        f"distances only, so answers need not differ."
    )


@register_rule("text position after media differs", Stage.POSITIONS)
def explain_text_after_media(finding: RuleInput) -> Explanation | None:
    """The media's own positions agree; the text behind one starts with another number."""
    ours, theirs = _both(finding)
    embedded = _embedded(finding)
    if ours.shape != theirs.shape or not embedded.any() or embedded.all():
        return None
    apart = ours != theirs
    first = int(apart.any(axis=0).argmax())
    if embedded[first] or not embedded[:first].any():
        return None
    shifts = (theirs - ours)[:, first]
    if len(set(shifts.tolist())) != 1:
        return None
    before = ours[:, :first].max(), theirs[:, :first].max()
    return 0.9, (
        f"Up to token {first} the positions agree; the text behind the medium goes on at {theirs[0, first]} "
        f"in {finding.pair.tested.backend} and at {ours[0, first]} in the reference, where the largest "
        f"position so far is {before[1]} and {before[0]}."
    )


@register_rule("temporal position steps lost", Stage.POSITIONS)
def explain_lost_steps(finding: RuleInput) -> Explanation | None:
    """Every position of a medium has one time, where the reference's go on from one group of frames to the
    next.
    """
    for name, ours, theirs, alone in _time_differences(finding):
        if len(theirs) == 1 < len(ours):
            rest = "height and width agree" if alone else "the other axes differ, too"
            return 0.95 if alone else 0.8, (
                f"{name} stands at one time in {finding.pair.tested.backend}, {theirs[0]:g}, and goes "
                f"through {_format_times(ours)} in the reference; {rest}."
            )
    return None


@register_rule("temporal position offset differs", Stage.POSITIONS)
def explain_time_start(finding: RuleInput) -> Explanation | None:
    """A medium has the reference's steps in time, all of them moved; height and width agree."""
    for name, ours, theirs, alone in _time_differences(finding):
        if alone and len(ours) == len(theirs) and len(set(np.subtract(theirs, ours))) == 1:
            return 0.9, (
                f"{name} starts at the time {theirs[0]:g} in {finding.pair.tested.backend} and at "
                f"{ours[0]:g} in the reference; height and width agree."
            )
    return None


@register_rule("media positions differ", Stage.POSITIONS)
def explain_media_positions(finding: RuleInput) -> Explanation | None:
    """The first difference lies inside a medium, on some axes."""
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape:
        return None
    apart = ours != theirs
    inside = apart & _embedded(finding)
    if not inside.any():
        return None
    names = ("time", "height", "width") if len(ours) == 3 else ("text",)
    axes = [name for name, row in zip(names, inside, strict=False) if row.any()]
    return 0.5, f"{int(inside.any(axis=0).sum())} embedded positions differ on the axes {', '.join(axes)}."


@register_rule("fractional positions truncated", Stage.POSITIONS)
def explain_truncated_positions(finding: RuleInput) -> Explanation | None:
    """Where the reference's axes have fractions, the other side has the whole number below."""
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape or (np.floor(ours) == ours).all() or (np.floor(ours) != theirs).any():
        return None
    cut = int((ours != theirs).any(axis=0).sum())
    return (
        1.0,
        f"{cut} positions have a fraction in the reference; {finding.pair.tested.backend} cuts it off.",
    )


def _time_differences(finding: RuleInput) -> Iterator[tuple[str, list[float], list[float], bool]]:
    """The media whose times differ, with those of the reference and of the tested side, and whether that
    is all that does.
    """
    ours, theirs = _both(finding)
    if ours.shape != theirs.shape or len(ours) != _MROPE:
        return
    for span in finding.pair.reference.spans or ():
        here, there = ours[:, span.positions], theirs[:, span.positions]
        if (here[0] != there[0]).any():
            times = (np.unique(side[0]).tolist() for side in (here, there))
            yield f"{span.modality} {span.item}", *times, bool((here[1:] == there[1:]).all())


def _format_times(times: list[float]) -> str:
    shown = ", ".join(f"{time:g}" for time in times[:_SHOWN])
    return shown if len(times) <= _SHOWN else f"{shown} and so on"


def _both(finding: RuleInput) -> tuple[np.ndarray, np.ndarray]:
    """int64 or float64 [axes, positions] of the reference and of the tested side."""
    left, right = open_array_files(finding)
    return left.read(Stage.POSITIONS), right.read(Stage.POSITIONS)


def _embedded(finding: RuleInput) -> np.ndarray:
    """bool [positions]: whether a medium's feature goes there."""
    mask = np.zeros(len(finding.pair.reference.input_ids or ()), dtype=bool)
    for span in finding.pair.reference.spans or ():
        mask[span.positions] = True
    return mask
