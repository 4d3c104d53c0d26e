"""How rules read the media that differ: their channels, grey levels, pictures and frames.

Whatever an array's shape does not tell for sure is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np

from vlm_parity.diagnosis.registry import Explanation, RuleInput
from vlm_parity.diff.stages.media import MediumPair, MediumSide, pair_media
from vlm_parity.schema.trace import MediaInput

PIXELS = "pixel_values"
CHANNELS = 3
_ROUNDING = {"float32": 2.0**-20, "float16": 2.0**-10, "bfloat16": 2.0**-8}
"""By the dtype in which a model is handed its pixels: more than it can be off by, of its own size."""
_NORMALISATIONS = (
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # CLIP
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # ImageNet
)
"""Mean and standard deviation of each channel, as the released processors have them."""


@dataclass(frozen=True)
class PixelPair:
    """One medium that both sides have and that differs."""

    name: str
    reference: MediaInput
    tested: MediaInput
    ours: np.ndarray
    """The reference's pixels, float64."""
    theirs: np.ndarray
    """The tested side's."""

    @property
    def comparable(self) -> bool:
        """Whether the values can be held against each other one by one."""
        return self.ours.shape == self.theirs.shape and bool(np.isfinite(self.theirs).all())

    def slack(self, expected: np.ndarray) -> np.ndarray:
        """By how much the tested values may miss an explanation's, for rounding alone."""
        rounding = max(_ROUNDING.get(side.dtype, 0.0) for side in (self.reference, self.tested))
        size = np.abs(expected)
        slack: np.ndarray = rounding * (size + size.max(initial=0.0) / 16) + 2.0**-19
        return slack

    def is_theirs(self, expected: np.ndarray) -> bool:
        """Whether an explanation gives the tested values, but for rounding."""
        return expected.shape == self.theirs.shape and _is_close(self.theirs, expected, self.slack(expected))


@dataclass(frozen=True)
class PixelNorm:
    """``(grey level / 255 - mean) / std``, each [channels, 1]."""

    mean: np.ndarray
    std: np.ndarray

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Normalised values [channels, ...] as grey levels, 0 to 255."""
        shape = (len(self.mean), *[1] * (values.ndim - 1))
        levels: np.ndarray = (values * self.std.reshape(shape) + self.mean.reshape(shape)) * 255
        return levels


def differing_pairs(finding: RuleInput) -> list[PixelPair]:
    """The media that differ, of those that both sides have with pixels."""
    return [_build_pair(item) for item in pair_media(finding.pair) if item.differs and _is_complete(item)]


def one_sided_media(finding: RuleInput) -> list[str]:
    """The media, or their pixels, that one side alone has."""
    return [item.name for item in pair_media(finding.pair) if not (_is_complete(item) or _is_audio(item))]


def has_pixels(side: MediumSide | None) -> bool:
    """Whether a side has the medium, and pixels of it: a sound has none."""
    return side is not None and PIXELS in side.medium.arrays


def describe_media(
    finding: RuleInput, confidence: float, tell: Callable[[PixelPair], str | None]
) -> Explanation | None:
    """What a rule says of the media that differ: its words on the first that it explains.

    Args:
        finding: with the media.
        confidence: if it explains all of them.
        tell: gives the words on one medium, without a full stop, or None.
    """
    media = differing_pairs(finding)
    words = [said for said in map(tell, media) if said is not None]
    if not words:
        return None
    if len(media) == 1:
        return confidence, f"{words[0]}."
    whole = len(words) == len(media)
    counted = f"This holds for {'all' if whole else len(words)} of {len(media)} media that differ"
    return confidence * (1 if whole else 0.6), f"{words[0]}. {counted}."


def split_channels(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """Pixels as [3, values of a channel], in the same order on both sides; None where no axis is sure."""
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
    """Pixels as [frames, values of a frame]; a picture may hold its one frame several times."""
    if array.ndim == 4:
        return array.reshape(len(array), -1)
    split = _split(medium, array)
    if split is None:
        return None
    times, _, _, inner, _ = split.shape
    return split.transpose(0, 3, 1, 2, 4).reshape(times * inner, -1)


def split_images(medium: MediaInput, array: np.ndarray, merged: int) -> np.ndarray | None:
    """Pixels as [frames, 3, height, width].

    Args:
        medium: with its grid.
        array: [patches, values], or already pictures.
        merged: how many patches along a side lie together in the order of the patches.
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
    """Pixels as [any number, height, width], each inside one channel of one patch or picture."""
    if array.ndim in (3, 4) and array.shape[-3] == CHANNELS:
        return array.reshape(-1, *array.shape[-2:])
    split = _split(medium, array)
    if split is None:
        return None
    side = isqrt(split.shape[-1])
    return split.reshape(-1, side, side)


def estimate_norm(medium: MediaInput, array: np.ndarray) -> PixelNorm | None:
    """The normalisation under which every value is one of the 256 grey levels."""
    values = split_channels(medium, array)
    if values is None:
        return None
    for mean, std in _NORMALISATIONS:
        known = PixelNorm(np.array(mean)[:, None], np.array(std)[:, None])
        levels = known.levels(values)
        whole = np.rint(levels)
        if levels.size and whole.min() >= 0 and whole.max() <= 255 and _is_close(levels, whole, 0.01):
            return known
    return None


def compute_levels(both: PixelPair) -> tuple[np.ndarray, np.ndarray] | None:
    """Both sides as grey levels, [3, values of a channel], by the reference's normalisation."""
    if not both.comparable:
        return None
    known = estimate_norm(both.reference, both.ours)
    ours, theirs = split_channels(both.reference, both.ours), split_channels(both.reference, both.theirs)
    if known is None or ours is None or theirs is None:
        return None
    return known.levels(ours), known.levels(theirs)


def _is_complete(item: MediumPair) -> bool:
    return has_pixels(item.reference) and has_pixels(item.tested)


def _is_audio(item: MediumPair) -> bool:
    return all(side is not None and side.medium.modality == "audio" for side in (item.reference, item.tested))


def _build_pair(item: MediumPair) -> PixelPair:
    ours, theirs = item.reference, item.tested
    assert ours is not None and theirs is not None, "both sides have it"
    arrays = (side.array(PIXELS).astype(np.float64) for side in (ours, theirs))
    return PixelPair(item.name, ours.medium, theirs.medium, *arrays)


def _split(medium: MediaInput, array: np.ndarray) -> np.ndarray | None:
    """[time, patches of a frame, 3, frames in a patch, pixels of a patch]; None for another layout."""
    grid = medium.fields.get("grid", ())
    inside = _inside(array.shape[1]) if array.ndim == 2 else None
    if inside is None or len(grid) != 3 or int(np.prod(grid)) != len(array):
        return None
    return array.reshape(int(grid[0]), -1, CHANNELS, *inside)


def _inside(values: int) -> tuple[int, int] | None:
    """(frames, pixels) of a patch's one channel: patches are square, of one or two frames."""
    size, rest = divmod(values, CHANNELS)
    for inner in (1, 2):
        area = size // inner
        if not rest and size == inner * area and isqrt(area) ** 2 == area:
            return inner, area
    return None


def _is_close(values: np.ndarray, expected: np.ndarray, slack: np.ndarray | float) -> bool:
    return bool((np.abs(values - expected) <= slack).all())
