"""Rules on image processing: rounding, transparency, resizing."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.affine import FLAT_STD, fit_affine
from vlm_parity.diagnosis.pixels import (
    PixelPair,
    compute_levels,
    describe_media,
    find_shift,
    split_patches,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.schema.trace import Stage

_LEVEL = 1.05
"""One gray level, with a margin for float32 rounding."""
_REST = 0.1
"""The fraction of a difference that an explanation may leave: resizing mixes neighboring pixels."""
_BLOCK = 8
"""Pixels along a side, more than the support of a resize filter."""
_FAR, _SHIFT, _ALIKE, _AT_EDGES = 0.5, 0.25, 0.7, 0.25
"""Two filters differ near edges and have equal averages. Measured: Pillow's nearest, box and bilinear filters
against bicubic stay within 0.42, 0.18, 0.90 and 0.32; noise and different images do not."""
_FEW = 0.5
"""The largest fraction of the pixels that may have the transparent entry of a palette."""
_OVERSHOOT = 0.2
"""Overshoot of bicubic resizing as a fraction of a step: an upper bound for a = -0.5 and -0.75."""
_BACKGROUNDS = {"white": 255.0, "black": 0.0, "middle gray": 128.0}


@register_rule("pixels rounded differently", Stage.MEDIA)
def explain_rounding(rule_input: RuleInput) -> Explanation | None:
    """Detect differences of at most one gray level."""

    def describe(pair: PixelPair) -> str | None:
        levels = compute_levels(pair)
        if levels is None or np.abs(steps := levels[1] - levels[0]).max() > _LEVEL:
            return None
        changed = np.rint(steps)
        if not changed.any():
            return None
        return (
            f"{int((changed != 0).sum())} of {changed.size} values of {pair.name} differ in "
            f"{rule_input.pair.tested.backend} by one gray level ({int((changed > 0).sum())} are higher), "
            "none by more: a resize or a conversion rounds differently"
        )

    return describe_media(rule_input, 0.95, describe)


@register_rule("alpha composited differently", Stage.MEDIA)
def explain_compositing(rule_input: RuleInput) -> Explanation | None:
    """Detect a transparent image that shows a background on one side only."""
    transparent = rule_input.pair.reference.transparent_images

    def describe(pair: PixelPair) -> str | None:
        if pair.reference.modality != "image" or pair.reference.item not in transparent:
            return None
        levels = compute_levels(pair)
        if (
            levels is None
            or fit_affine(pair, *levels) is not None
            or max(side.std() for side in levels) < _LEVEL
        ):
            return None
        backend = rule_input.pair.tested.backend
        for name, background in _BACKGROUNDS.items():
            for sides, side in ((levels, backend), (levels[::-1], "the reference")):
                fraction = _fit_background(*sides, background) or _fit_palette_background(*sides, background)
                if fraction is not None:
                    return (
                        f"{fraction:.1%} of {pair.name} are closer to {name} in {side}, equally in all "
                        "channels: it composites the transparent image onto a background, and the other side "
                        "does not"
                    )
        return None

    return describe_media(rule_input, 0.85, describe)


@register_rule("resize filter differs", Stage.MEDIA)
def explain_resampling(rule_input: RuleInput) -> Explanation | None:
    """Detect equal images with different values near edges."""

    def describe(pair: PixelPair) -> str | None:
        sharpness = _compare_filters(pair)
        if sharpness is None or find_shift(pair) is not None:
            return None
        near, correlation, ratio = sharpness
        return (
            f"The image was resized differently, or compressed: {pair.name} correlates with the reference "
            f"({correlation:.4f}); averages of small blocks differ by {near:.0%} of the difference of single "
            f"values, and contrasts of neighboring values are {ratio:.2f} times as large in "
            f"{rule_input.pair.tested.backend}"
        )

    return describe_media(rule_input, 0.7, describe)


def _fit_background(plain: np.ndarray, composited: np.ndarray, background: float) -> float | None:
    """Return the fraction of the pixels that show a background; None if a background does not explain the
    values.

    For a pixel of opacity a, ``background - composited = a (background - plain)`` in all channels.

    Args:
        plain: gray levels [3, pixels] of the side that drops alpha.
        composited: gray levels of the side that composites the image onto the background.
        background: the gray level of the background.
    """
    before, after = background - plain, background - composited
    opacity = (before * after).sum(axis=0) / np.maximum(np.square(before).sum(axis=0), 1.0)
    rest = np.sqrt(np.square(after - np.clip(opacity, 0, 1) * before).mean())
    size = np.sqrt(np.square(composited - plain).mean())
    if size <= _LEVEL or rest > _REST * size:
        return None
    return float((np.abs(composited - plain).max(axis=0) > _LEVEL).mean())


def _fit_palette_background(plain: np.ndarray, composited: np.ndarray, background: float) -> float | None:
    """Return the same as ``_fit_background`` for a resized palette image with one transparent entry.

    All changes are then of one color towards the background, and most pixels are unchanged.
    """
    change = composited - plain
    size = np.sqrt(np.square(change).mean())
    changed = np.abs(change).max(axis=0) > _LEVEL
    if size <= _LEVEL * np.sqrt(changed.mean()) or changed.mean() > _FEW:
        return None
    direction = np.linalg.svd(change, full_matrices=False)[0][:, 0]
    steps = direction @ change
    direction, steps = (direction, steps) if steps.sum() > 0 else (-direction, -steps)
    rest = np.sqrt(np.square(change - np.outer(direction, steps)).mean())
    color = background - direction * steps.max()
    outside = np.abs(color - color.clip(0, 255)).max()
    if rest > _REST * size or outside > _OVERSHOOT * steps.max() or steps.min() < -_OVERSHOOT * steps.max():
        return None
    return float(changed.mean())


def _compare_filters(pair: PixelPair) -> tuple[float, float, float] | None:
    """Compare two images that may differ by their resize filters; None if that does not explain the values.

    Returns:
        The fraction of the difference that remains in averages of blocks, the correlation, and the ratio of
        the contrasts of neighboring values.
    """
    if not pair.comparable:
        return None
    reference, tested = (
        split_patches(pair.reference, pair.reference_values),
        split_patches(pair.tested, pair.tested_values),
    )
    if reference is None or tested is None or min(reference.shape[1:]) < 2:
        return None
    distance = tested - reference
    sizes, steps = np.abs(distance), _edges(reference)
    if min(values.std() for values in (reference, tested, distance, sizes, steps)) < FLAT_STD:
        return None
    near = float(_averages(distance).std() / distance.std())
    correlation = float(np.corrcoef(reference.ravel(), tested.ravel())[0, 1])
    edges = float(np.corrcoef(sizes.ravel(), steps.ravel())[0, 1])
    ratio = float(_edges(tested).mean() / steps.mean())
    shift = abs(float(distance.mean())) / float(distance.std())
    if near > _FAR or shift > _SHIFT or correlation < _ALIKE or edges < _AT_EDGES:
        return None
    return near, correlation, ratio


def _averages(values: np.ndarray) -> np.ndarray:
    """Average blocks of [any, height, width]: halves of each square, up to ``_BLOCK`` pixels."""
    _, height, width = values.shape
    size = max(1, min(height, width, _BLOCK * 2) // 2)
    cut = values[:, : height // size * size, : width // size * size]
    averages: np.ndarray = cut.reshape(len(cut), height // size, size, width // size, size).mean(axis=(2, 4))
    return averages


def _edges(values: np.ndarray) -> np.ndarray:
    """Compute the contrast of each value of [any, height, width] to its neighbors."""
    down, right = np.gradient(values, axis=(1, 2))
    edges: np.ndarray = np.hypot(down, right)
    return edges
