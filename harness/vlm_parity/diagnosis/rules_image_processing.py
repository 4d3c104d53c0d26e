"""Rules for how a picture looks: rounding, transparency, resizing."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.affine import FLAT_STD, fit_affine
from vlm_parity.diagnosis.pixels import PixelPair, compute_levels, describe_media, split_patches
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage

_LEVEL = 1.05
"""One grey level, and what float32 adds to it."""
_REST = 0.1
"""What an explanation may leave over of a difference, relatively: resizing mixes neighbours."""
_BLOCK = 8
"""Pixels along a side, farther than a resize filter reaches."""
_FAR, _SHIFT, _ALIKE, _AT_EDGES = 0.5, 0.25, 0.7, 0.25
"""Two filters give other values near edges and the same averages. Measured: Pillow's nearest, box and
bilinear filters against its bicubic one stay within 0.42, 0.18, 0.90 and 0.32, noise and other pictures
do not."""
_FEW = 0.5
"""Of the pixels, as many as a transparent entry of a palette may take and still be told."""
_OVERSHOOT = 0.2
"""Of a step, what bicubic resizing goes beyond it: a cubic with a = -0.5 or -0.75 stays below that."""
_BACKGROUNDS = {"white": 255.0, "black": 0.0, "middle grey": 128.0}


@register_rule("pixels rounded differently", Stage.MEDIA)
def explain_rounding(finding: RuleInput) -> Explanation | None:
    """No value is off by more than one grey level."""

    def tell(both: PixelPair) -> str | None:
        found = compute_levels(both)
        if found is None or np.abs(steps := found[1] - found[0]).max() > _LEVEL:
            return None
        changed = np.rint(steps)
        if not changed.any():
            return None
        return (
            f"{int((changed != 0).sum())} of {changed.size} values of {both.name} differ in "
            f"{finding.pair.tested.backend} by one grey level ({int((changed > 0).sum())} lie higher), none "
            "by more: a resize or a conversion rounds otherwise"
        )

    return describe_media(finding, 0.95, tell)


@register_rule("alpha composited differently", Stage.MEDIA)
def explain_compositing(finding: RuleInput) -> Explanation | None:
    """One side shows a background through the transparent parts of a picture."""

    def tell(both: PixelPair) -> str | None:
        found = compute_levels(both)
        if (
            found is None
            or fit_affine(both, *found) is not None
            or max(part.std() for part in found) < _LEVEL
        ):
            return None
        backend = finding.pair.tested.backend
        for name, background in _BACKGROUNDS.items():
            for shown, side in ((found, backend), (found[::-1], "the reference")):
                parts = _matches_background(*shown, background) or _is_background_removed(*shown, background)
                if parts is not None:
                    return (
                        f"{parts:.1%} of {both.name} are nearer to {name} in {side}, all channels "
                        "alike: it lays the transparent picture on a background, the other does not"
                    )
        return None

    return describe_media(finding, 0.85, tell)


@register_rule("resize filter differs", Stage.MEDIA)
def explain_resampling(finding: RuleInput) -> Explanation | None:
    """The same picture at a distance, and other values near its edges."""

    def tell(both: PixelPair) -> str | None:
        sharpness = _compare_filters(both)
        if sharpness is None:
            return None
        near, correlation, ratio = sharpness
        return (
            f"{both.name} is the same picture (correlation {correlation:.4f}); averages of small blocks "
            f"differ by {near:.0%} of what single values do, and neighbouring values by {ratio:.2f} times as "
            f"much in {finding.pair.tested.backend}: it is resized otherwise, or compressed on the way"
        )

    return describe_media(finding, 0.7, tell)


def _matches_background(plain: np.ndarray, composited: np.ndarray, background: float) -> float | None:
    """The part of the pixels through which a background shows; None if that does not explain the values.

    With a pixel's opacity a, ``background - composited = a (background - plain)`` in all channels.

    Args:
        plain: grey levels [3, pixels] of the side that drops alpha.
        composited: those of the side that lays the picture on the background.
        background: its grey level.
    """
    before, after = background - plain, background - composited
    opacity = (before * after).sum(axis=0) / np.maximum(np.square(before).sum(axis=0), 1.0)
    rest = np.sqrt(np.square(after - np.clip(opacity, 0, 1) * before).mean())
    size = np.sqrt(np.square(composited - plain).mean())
    if size <= _LEVEL or rest > _REST * size:
        return None
    return float((np.abs(composited - plain).max(axis=0) > _LEVEL).mean())


def _is_background_removed(plain: np.ndarray, composited: np.ndarray, background: float) -> float | None:
    """As ``_shows`` of a palette with a transparent entry, although the picture was resized: all changes
    are then one colour's, towards the background, and most pixels stay.
    """
    change = composited - plain
    size = np.sqrt(np.square(change).mean())
    changed = np.abs(change).max(axis=0) > _LEVEL
    if size <= _LEVEL * np.sqrt(changed.mean()) or changed.mean() > _FEW:
        return None
    towards = np.linalg.svd(change, full_matrices=False)[0][:, 0]
    along = towards @ change
    towards, along = (towards, along) if along.sum() > 0 else (-towards, -along)
    rest = np.sqrt(np.square(change - np.outer(towards, along)).mean())
    colour = background - towards * along.max()
    outside = np.abs(colour - colour.clip(0, 255)).max()
    if rest > _REST * size or outside > _OVERSHOOT * along.max() or along.min() < -_OVERSHOOT * along.max():
        return None
    return float(changed.mean())


def _compare_filters(both: PixelPair) -> tuple[float, float, float] | None:
    """Whether both are the same picture but for the way it was resized: how much of the difference is left
    in averages of blocks, the correlation, and by how much neighbouring values differ more.
    """
    if not both.comparable:
        return None
    ours, theirs = split_patches(both.reference, both.ours), split_patches(both.tested, both.theirs)
    if ours is None or theirs is None or min(ours.shape[1:]) < 2:
        return None
    distance = theirs - ours
    sizes, steps = np.abs(distance), _edges(ours)
    if min(values.std() for values in (ours, theirs, distance, sizes, steps)) < FLAT_STD:
        return None
    near = float(_averages(distance).std() / distance.std())
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    edges = float(np.corrcoef(sizes.ravel(), steps.ravel())[0, 1])
    ratio = float(_edges(theirs).mean() / steps.mean())
    shift = abs(float(distance.mean())) / float(distance.std())
    if near > _FAR or shift > _SHIFT or correlation < _ALIKE or edges < _AT_EDGES:
        return None
    return near, correlation, ratio


def _averages(values: np.ndarray) -> np.ndarray:
    """The averages of blocks of [any, height, width]: each square in halves, or as many pixels."""
    _, height, width = values.shape
    size = max(1, min(height, width, _BLOCK * 2) // 2)
    cut = values[:, : height // size * size, : width // size * size]
    averages: np.ndarray = cut.reshape(len(cut), height // size, size, width // size, size).mean(axis=(2, 4))
    return averages


def _edges(values: np.ndarray) -> np.ndarray:
    """How much each value of [any, height, width] differs from its neighbours."""
    down, right = np.gradient(values, axis=(1, 2))
    edges: np.ndarray = np.hypot(down, right)
    return edges
