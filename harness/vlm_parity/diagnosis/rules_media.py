"""Rules on the inputs of the vision tower: order of media, sampled frames, orientation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlm_parity.diagnosis.frame_sampling import describe_frame_sampling_difference
from vlm_parity.diagnosis.pixels import (
    MERGED,
    PIXELS,
    PixelPair,
    describe_media,
    find_shift,
    has_pixels,
    list_differing_pairs,
    list_one_sided_media,
    split_frames,
    split_images,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.diff.stages.media import pair_media
from vlm_parity.schema.trace import MediaInput, Stage

_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rotated by 90 degrees to the left": lambda p: np.rot90(p, 1, (-2, -1)),
    "rotated by 180 degrees": lambda p: np.rot90(p, 2, (-2, -1)),
    "rotated by 90 degrees to the right": lambda p: np.rot90(p, 3, (-2, -1)),
    "mirrored left to right": lambda p: p[..., ::-1],
    "mirrored top to bottom": lambda p: p[..., ::-1, :],
    "mirrored along its diagonal": lambda p: p.swapaxes(-2, -1),
    "mirrored along its other diagonal": lambda p: np.rot90(p, 2, (-2, -1)).swapaxes(-2, -1),
}
"""Transformations of images [..., height, width] that an EXIF orientation can require."""
_REST = 0.25
"""The largest difference of a rotated image relative to its contrast: its sides are resized in exchange."""


@register_rule("media reordered", Stage.MEDIA)
def explain_media_order(rule_input: RuleInput) -> Explanation | None:
    """Detect media that are equal to other media of the reference."""
    items = [item for item in pair_media(rule_input.pair) if has_pixels(item.reference)]
    media = list_differing_pairs(rule_input)
    sources: dict[str, str] = {}
    for pair in media:
        for item in items:
            other = item.reference
            if (
                other is not None
                and item.name != pair.name
                and _is_other_medium(pair, other.medium, other.array(PIXELS))
            ):
                sources[pair.name] = item.name
                break
    if not media or len(sources) != len(media):
        return None
    pairs = ", ".join(f"{tested} is {reference} of the reference" for tested, reference in sources.items())
    is_permutation = sorted(sources) == sorted(sources.values())
    conclusion = "the order of the media differs" if is_permutation else "a medium replaces another one"
    return (1.0 if is_permutation else 0.9), f"In {rule_input.pair.tested.backend}, {pairs}: {conclusion}."


@register_rule("grid transposed", Stage.MEDIA)
def explain_transposed(rule_input: RuleInput) -> Explanation | None:
    """Detect equal patches whose grid has height and width swapped."""

    def describe(pair: PixelPair) -> str | None:
        reference, tested = (side.fields.get("grid", ()) for side in (pair.reference, pair.tested))
        swapped = (
            reference != tested
            and len(reference) == 3
            and tested == (reference[0], reference[2], reference[1])
        )
        if not swapped or not pair.explains_tested(pair.reference_values):
            return None
        return (
            f"Height and width are swapped: the pixels of {pair.name} are equal, but its grid is "
            f"{_format_sizes(tested)} in {rule_input.pair.tested.backend} and {_format_sizes(reference)} in "
            "the reference"
        )

    return describe_media(rule_input, 1.0, describe)


@register_rule("image rotated or mirrored", Stage.MEDIA)
def explain_rotated(rule_input: RuleInput) -> Explanation | None:
    """Detect a rotated or mirrored image, for instance if the EXIF orientation is ignored."""

    def describe(pair: PixelPair) -> str | None:
        rest, turn = min(
            (rotation for merged in MERGED for rotation in _list_rotations(pair, merged)),
            default=(1.0, ""),
        )
        if rest > _REST:
            return None
        return (
            f"The image was {turn}: in {rule_input.pair.tested.backend}, {pair.name} equals the reference "
            f"after this transformation, up to {rest:.2g} of its contrast. Only one side applies the EXIF "
            "orientation, or it transforms the image by itself"
        )

    return describe_media(rule_input, 0.9, describe)


@register_rule("image shifted", Stage.MEDIA)
def explain_shifted(rule_input: RuleInput) -> Explanation | None:
    """Detect an image that is moved by a few whole pixels; what enters at the edge is not compared."""

    def describe(pair: PixelPair) -> str | None:
        shift = find_shift(pair)
        if shift is None:
            return None
        rest, down, right = shift
        vertical, horizontal = "lower" if down >= 0 else "higher", "right" if right >= 0 else "left"
        return (
            f"{pair.name} in {rule_input.pair.tested.backend} is the image of the reference, {abs(down)} "
            f"pixels {vertical} and {abs(right)} further to the {horizontal}, up to {rest:.2g} of the "
            "difference: check crop, padding and alignment"
        )

    return describe_media(rule_input, 0.9, describe)


@register_rule("frames sampled differently", Stage.MEDIA)
def explain_frame_sampling(rule_input: RuleInput) -> Explanation | None:
    """Detect frames that are moved, repeated, or sampled differently from the file."""
    sentence = describe_frame_sampling_difference(rule_input)
    if sentence is not None:
        return 1.0, f"{sentence}."

    def describe(pair: PixelPair) -> str | None:
        sources = _match_frames(pair)
        unknown = sources.count(None)
        if 2 * unknown > len(sources) or all(source in (None, own) for own, source in enumerate(sources)):
            return None
        indices = ", ".join("?" if source is None else str(source) for source in sources)
        note = f"; the {unknown} marked ? are not in the reference" if unknown else ""
        return (
            f"The {len(sources)} frames of {pair.name} in {rule_input.pair.tested.backend} have, in the "
            f"reference, the indices {indices}{note}"
        )

    return describe_media(rule_input, 0.95, describe)


@register_rule("second_per_grid_ts differs", Stage.MEDIA)
def explain_lost_timestamps(rule_input: RuleInput) -> Explanation | None:
    """Detect a different time between groups of frames."""

    def describe(pair: PixelPair) -> str | None:
        reference, tested = (side.fields.get("second_per_grid") for side in (pair.reference, pair.tested))
        if reference is None or reference == tested:
            return None
        actual = "missing" if tested is None else f"{tested[0]:g} s"
        return (
            f"The time between groups of frames of {pair.name} is {actual} in "
            f"{rule_input.pair.tested.backend} and {reference[0]:g} s in the reference"
        )

    return describe_media(rule_input, 1.0, describe)


@register_rule("pixels differ", Stage.MEDIA, is_general=True)
def explain_pixels(rule_input: RuleInput) -> Explanation | None:
    """Describe the difference in numbers, whatever its cause."""
    one_sided = list_one_sided_media(rule_input)
    explanation = describe_media(rule_input, 0.1, lambda pair: _describe_difference(rule_input, pair))
    if one_sided:
        sentence = f"Only one side has {', '.join(one_sided)}."
        return 0.1, f"{sentence} {explanation[1]}" if explanation else sentence
    return explanation


def _describe_difference(rule_input: RuleInput, pair: PixelPair) -> str:
    backend = rule_input.pair.tested.backend
    if pair.reference_values.shape != pair.tested_values.shape:
        shapes = [_format_sizes(values.shape) for values in (pair.tested_values, pair.reference_values)]
        return f"{pair.name} has {shapes[0]} values in {backend} and {shapes[1]} in the reference"
    if pair.explains_tested(pair.reference_values):
        return (
            f"{pair.name} has equal pixels, with {_fields(pair.tested)} in {backend} and "
            f"{_fields(pair.reference)} in the reference"
        )
    distance = np.abs(pair.tested_values - pair.reference_values)
    different = distance > 0
    values = pair.reference_values
    return (
        f"{int(different.sum())} of {different.size} values of {pair.name} differ in {backend}, by at most "
        f"{distance.max():.3g} (root mean square {np.sqrt(np.square(distance).mean()):.3g}); those of the "
        f"reference range from {values.min():.3g} to {values.max():.3g}"
    )


def _is_other_medium(pair: PixelPair, medium: MediaInput, array: np.ndarray) -> bool:
    """Return whether the tested medium is equal to another medium of the reference."""
    return medium.fields == pair.tested.fields and pair.explains_tested(array)


def _list_rotations(pair: PixelPair, merged: int) -> list[tuple[float, str]]:
    """List the transformations that bring the images closer, with the rest relative to their contrast."""
    reference = split_images(pair.reference, pair.reference_values, merged)
    tested = split_images(pair.tested, pair.tested_values, merged)
    if reference is None or tested is None or not np.isfinite(tested).all():
        return []
    contrast = float(tested.std()) or 1.0
    untouched = compute_rms(reference - tested) if reference.shape == tested.shape else np.inf
    rotations = []
    for name, turn in _TURNS.items():
        turned = turn(reference)
        if turned.shape == tested.shape and (distance := compute_rms(turned - tested)) < untouched / 2:
            rotations.append((distance / contrast, name))
    return rotations


def _match_frames(pair: PixelPair) -> list[int | None]:
    """Return the index in the reference of each tested frame of a video, preferably its own.

    A frame that the reference lacks is None; the list is empty if the frames are unknown.
    """
    reference = split_frames(pair.reference, pair.reference_values)
    tested = split_frames(pair.tested, pair.tested_values)
    if (
        pair.reference.modality != "video"
        or reference is None
        or tested is None
        or reference.shape[1] != tested.shape[1]
    ):
        return []
    sources: list[int | None] = []
    for own, frame in enumerate(tested):
        equal = [
            index
            for index, other in enumerate(reference)
            if (np.abs(frame - other) <= pair.compute_slack(other)).all()
        ]
        sources.append(own if own in equal else next(iter(equal), None))
    return sources


def _fields(medium: MediaInput) -> str:
    return (
        ", ".join(f"{name} {_format_sizes(value)}" for name, value in sorted(medium.fields.items()))
        or "no fields"
    )


def _format_sizes(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
