"""Views of the pixels of media that differ: channels, gray levels, images and frames.

If the shape of an array does not determine a view, the result is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import isqrt

import numpy as np

from vlm_parity.diagnosis.registry import Explanation, RuleInput
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.diff.stages.media import MediumPair, MediumSide, pair_media
from vlm_parity.schema.trace import MediaInput

PIXELS = "pixel_values"
CHANNELS = 3
_ROUNDING = {"float32": 2.0**-20, "float16": 2.0**-10, "bfloat16": 2.0**-8}
"""Upper bounds of the relative rounding error, by the dtype in which a model receives its pixels."""
MERGED = (2, 1)
"""The sides of the square blocks of patches that are adjacent in the order of the patches, in known
families."""
_MAX_SHIFT = 2  # pixels
_SHIFT_REST = 0.05
"""The largest part of a difference that a shift may leave: nothing but rounding."""
_NORMALIZATIONS = (
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # CLIP
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # ImageNet
)
"""Mean and standard deviation of each channel in the released processors."""


@dataclass(frozen=True)
class PixelPair:
    """A medium that both sides have and that differs."""

    name: str
    reference: MediaInput
    tested: MediaInput
    reference_values: np.ndarray
    """float64 pixel values of the reference."""
    tested_values: np.ndarray
    """float64 pixel values of the tested side."""

    @property
    def comparable(self) -> bool:
        """True if the values can be compared one by one."""
        return self.reference_values.shape == self.tested_values.shape and bool(
            np.isfinite(self.tested_values).all()
        )

    def compute_slack(self, expected: np.ndarray) -> np.ndarray:
        """Compute the deviation from an explanation's values that rounding allows."""
        rounding = max(_ROUNDING.get(side.dtype, 0.0) for side in (self.reference, self.tested))
        size = np.abs(expected)
        slack: np.ndarray = rounding * (size + size.max(initial=0.0) / 16) + 2.0**-19
        return slack

    def explains_tested(self, expected: np.ndarray) -> bool:
        """Return whether the values of an explanation are the tested ones, up to rounding."""
        return expected.shape == self.tested_values.shape and _is_close(
            self.tested_values, expected, self.compute_slack(expected)
        )


@dataclass(frozen=True)
class PixelNorm:
    """The normalization ``(gray level / 255 - mean) / std``, with arrays [channels, 1]."""

    mean: np.ndarray
    std: np.ndarray

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Convert normalized values [channels, ...] to gray levels, 0 to 255."""
        shape = (len(self.mean), *[1] * (values.ndim - 1))
        levels: np.ndarray = (values * self.std.reshape(shape) + self.mean.reshape(shape)) * 255
        return levels


def list_differing_pairs(rule_input: RuleInput) -> list[PixelPair]:
    """Return the media that differ, out of those for which both sides have pixels."""
    return [_build_pair(item) for item in pair_media(rule_input.pair) if item.differs and _is_complete(item)]


def list_one_sided_media(rule_input: RuleInput) -> list[str]:
    """Return the names of the media for which only one side has pixels."""
    return [item.name for item in pair_media(rule_input.pair) if not (_is_complete(item) or _is_audio(item))]


def has_pixels(side: MediumSide | None) -> bool:
    """Return whether a side has pixels of the medium: audio has none."""
    return side is not None and PIXELS in side.medium.arrays


def describe_media(
    rule_input: RuleInput, confidence: float, describe: Callable[[PixelPair], str | None]
) -> Explanation | None:
    """Explain the media that differ by the first one that a rule describes.

    Args:
        rule_input: the difference.
        confidence: the confidence if the rule explains all media.
        describe: describes one medium in a sentence without a full stop; None if the rule does not apply.
    """
    media = list_differing_pairs(rule_input)
    sentences = [sentence for sentence in map(describe, media) if sentence is not None]
    if not sentences:
        return None
    if len(media) == 1:
        return confidence, f"{sentences[0]}."
    explains_all = len(sentences) == len(media)
    scope = f"This holds for {'all' if explains_all else len(sentences)} of {len(media)} media that differ"
    return confidence * (1 if explains_all else 0.6), f"{sentences[0]}. {scope}."


def split_channels(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """Return pixels as [3, values of a channel], in the same order on both sides; None if no axis fits."""
    if array.ndim == 2 and "grid" in medium.fields:
        inside = _inside(array.shape[1])
        if inside is None:
            return None
        return array.reshape(len(array), CHANNELS, -1).transpose(1, 0, 2).reshape(CHANNELS, -1)
    axes = [axis for axis, size in enumerate(array.shape) if size == CHANNELS]
    if array.ndim not in (3, 4, 5) or len(axes) != 1:
        return None
    return np.moveaxis(array, axes[0], 0).reshape(CHANNELS, -1)


def split_frames(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """Return pixels as [frames, values of a frame]; an image may repeat its only frame."""
    if array.ndim == 4:
        return array.reshape(len(array), -1)
    split = _split(medium, array)
    if split is None:
        return None
    times, _, _, inner, _ = split.shape
    return split.transpose(0, 3, 1, 2, 4).reshape(times * inner, -1)


def split_images(medium: MediaInput, array: np.ndarray, merged: int) -> np.ndarray | None:
    """Return pixels as [frames, 3, height, width].

    Args:
        medium: has the grid.
        array: [patches, values], or images already.
        merged: the side of the square blocks of patches that are adjacent in the order of the patches.
    """
    if array.ndim in (3, 4) and array.shape[-3] == CHANNELS:
        return array.reshape(-1, *array.shape[-3:])
    split = _split(medium, array)
    if split is None:
        return None
    _, height, width = (int(size) for size in medium.fields["grid"])
    if height % merged or width % merged:
        return None
    times, _, _, inner, area = split.shape
    side = isqrt(area)
    blocks = split.reshape(
        times, height // merged, width // merged, merged, merged, CHANNELS, inner, side, side
    )
    ordered = blocks.transpose(0, 6, 5, 1, 3, 7, 2, 4, 8)
    return ordered.reshape(times * inner, CHANNELS, height * side, width * side)


def split_patches(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """Return pixels as [any number, height, width], each within one channel of one patch or image."""
    if array.ndim in (3, 4) and array.shape[-3] == CHANNELS:
        return array.reshape(-1, *array.shape[-2:])
    split = _split(medium, array)
    if split is None:
        return None
    side = isqrt(split.shape[-1])
    return split.reshape(-1, side, side)


def estimate_norm(medium: MediaInput, array: np.ndarray) -> PixelNorm | None:
    """Return the normalization for which every value is one of the 256 gray levels; None if there is none."""
    values = split_channels(medium, array)
    if values is None:
        return None
    for mean, std in _NORMALIZATIONS:
        norm = PixelNorm(np.array(mean)[:, None], np.array(std)[:, None])
        levels = norm.levels(values)
        rounded = np.rint(levels)
        if levels.size and rounded.min() >= 0 and rounded.max() <= 255 and _is_close(levels, rounded, 0.01):
            return norm
    return None


def compute_levels(pair: PixelPair) -> tuple[np.ndarray, np.ndarray] | None:
    """Return both sides as gray levels, [3, values of a channel], by the reference's normalization."""
    if not pair.comparable:
        return None
    known = estimate_norm(pair.reference, pair.reference_values)
    reference, tested = (
        split_channels(pair.reference, pair.reference_values),
        split_channels(pair.reference, pair.tested_values),
    )
    if known is None or reference is None or tested is None:
        return None
    return known.levels(reference), known.levels(tested)


def find_shift(pair: PixelPair) -> tuple[float, int, int] | None:
    """Find the whole pixels by which an image is moved; what enters at the edges is left out.

    Returns:
        The part of the difference that remains, and the pixels down and to the right; None if no shift
        explains the difference.
    """
    shifts = [shift for merged in MERGED for shift in _list_shifts(pair, merged)]
    found = min(shifts, default=(1.0, 0, 0))
    return found if found[0] <= _SHIFT_REST else None


def _list_shifts(pair: PixelPair, merged: int) -> list[tuple[float, int, int]]:
    if not pair.comparable:
        return []
    reference = split_images(pair.reference, pair.reference_values, merged)
    tested = split_images(pair.tested, pair.tested_values, merged)
    if reference is None or tested is None or reference.shape != tested.shape:
        return []
    if min(reference.shape[-2:]) <= 4 * _MAX_SHIFT:
        return []
    middle = slice(_MAX_SHIFT, -_MAX_SHIFT)
    inside = tested[..., middle, middle]
    untouched = compute_rms(reference[..., middle, middle] - inside)
    steps = range(-_MAX_SHIFT, _MAX_SHIFT + 1)
    shifts = []
    for down, right in product(steps, steps) if untouched else ():
        if down or right:
            moved = np.roll(reference, (down, right), (-2, -1))[..., middle, middle]
            shifts.append((compute_rms(moved - inside) / untouched, down, right))
    return shifts


def _is_complete(item: MediumPair) -> bool:
    return has_pixels(item.reference) and has_pixels(item.tested)


def _is_audio(item: MediumPair) -> bool:
    return all(side is not None and side.medium.modality == "audio" for side in (item.reference, item.tested))


def _build_pair(item: MediumPair) -> PixelPair:
    reference, tested = item.reference, item.tested
    assert reference is not None, "both sides have it"
    assert tested is not None, "both sides have it"
    arrays = (side.array(PIXELS).astype(np.float64) for side in (reference, tested))
    return PixelPair(item.name, reference.medium, tested.medium, *arrays)


def _split(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """Return [time, patches of a frame, 3, frames of a patch, pixels of a patch]; None for other layouts."""
    grid = medium.fields.get("grid", ())
    inside = _inside(array.shape[1]) if array.ndim == 2 else None
    if inside is None or len(grid) != 3 or int(np.prod(grid)) != len(array):
        return None
    return array.reshape(int(grid[0]), -1, CHANNELS, *inside)


def _inside(values: int) -> tuple[int, int] | None:
    """Return (frames, pixels) of one channel of a patch, which is square and of one or two frames."""
    size, rest = divmod(values, CHANNELS)
    for inner in (1, 2):
        area = size // inner
        if not rest and size == inner * area and isqrt(area) ** 2 == area:
            return inner, area
    return None


def _is_close(values: np.ndarray, expected: np.ndarray, slack: np.ndarray | float) -> bool:
    return bool((np.abs(values - expected) <= slack).all())
