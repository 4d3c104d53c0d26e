"""Rules for what enters the vision tower: which medium, which frames, and which way up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlm_parity.diagnosis.frame_sampling import frame_sampling_differs
from vlm_parity.diagnosis.pixels import (
    PIXELS,
    PixelPair,
    describe_media,
    differing_pairs,
    has_pixels,
    one_sided_media,
    split_frames,
    split_images,
)
from vlm_parity.diagnosis.registry import Explanation, RuleInput, register_rule
from vlm_parity.diff.stages.media import pair_media
from vlm_parity.schema.trace import MediaInput, Stage

_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "turned by 90 degrees to the left": lambda p: np.rot90(p, 1, (-2, -1)),
    "turned by 180 degrees": lambda p: np.rot90(p, 2, (-2, -1)),
    "turned by 90 degrees to the right": lambda p: np.rot90(p, 3, (-2, -1)),
    "mirrored left to right": lambda p: p[..., ::-1],
    "mirrored top to bottom": lambda p: p[..., ::-1, :],
    "mirrored along its diagonal": lambda p: p.swapaxes(-2, -1),
    "mirrored along its other diagonal": lambda p: np.rot90(p, 2, (-2, -1)).swapaxes(-2, -1),
}
"""What an EXIF orientation can ask for; pictures are [..., height, width]."""
_MERGED = (2, 1)
"""How many patches along a side lie together in the order of the patches, in the known families."""
_REST = 0.25
"""Of the picture's own contrast, what a turned picture may be off by: it is resized on its other side."""


@register_rule("media reordered", Stage.MEDIA)
def explain_media_order(finding: RuleInput) -> Explanation | None:
    """Each medium that differs is another one of the reference."""
    items = [item for item in pair_media(finding.pair) if has_pixels(item.reference)]
    media = differing_pairs(finding)
    sources: dict[str, str] = {}
    for both in media:
        for item in items:
            other = item.reference
            if (
                other is not None
                and item.name != both.name
                and _is_other_medium(both, other.medium, other.array(PIXELS))
            ):
                sources[both.name] = item.name
                break
    if not media or len(sources) != len(media):
        return None
    pairs = ", ".join(f"{theirs} is the reference's {ours}" for theirs, ours in sources.items())
    moved = sorted(sources) == sorted(sources.values())
    words = "the same media in another order" if moved else "one stands in the place of another"
    return (1.0 if moved else 0.9), f"In {finding.pair.tested.backend} {pairs}: {words}."


@register_rule("grid transposed", Stage.MEDIA)
def explain_transposed(finding: RuleInput) -> Explanation | None:
    """The patches are the same in the same order, height and width change places."""

    def tell(both: PixelPair) -> str | None:
        ours, theirs = (side.fields.get("grid", ()) for side in (both.reference, both.tested))
        swapped = ours != theirs and len(ours) == 3 and theirs == (ours[0], ours[2], ours[1])
        if not swapped or not both.is_theirs(both.ours):
            return None
        return (
            f"The pixels of {both.name} are the same, its grid is {_by(theirs)} in "
            f"{finding.pair.tested.backend} and {_by(ours)} in the reference: height and width change places"
        )

    return describe_media(finding, 1.0, tell)


@register_rule("image rotated or mirrored", Stage.MEDIA)
def explain_rotated(finding: RuleInput) -> Explanation | None:
    """The picture lies another way, as one does whose EXIF orientation is not looked at."""

    def tell(both: PixelPair) -> str | None:
        rest, turn = min(
            (found for merged in _MERGED for found in _list_rotations(both, merged)), default=(1.0, "")
        )
        if rest > _REST:
            return None
        return (
            f"{both.name} of {finding.pair.tested.backend} is the reference's {turn}, but for {rest:.2g} of "
            "its contrast: one side alone does as the EXIF orientation says, or turns the picture by itself"
        )

    return describe_media(finding, 0.9, tell)


@register_rule("frames sampled differently", Stage.MEDIA)
def explain_frame_sampling(finding: RuleInput) -> Explanation | None:
    """Frames of the reference stand at other places, or again, or others of the file were taken."""
    words = frame_sampling_differs(finding)
    if words is not None:
        return 1.0, f"{words}."

    def tell(both: PixelPair) -> str | None:
        taken = _format_frames(both)
        strange = taken.count(None)
        if 2 * strange > len(taken) or all(place in (None, at) for at, place in enumerate(taken)):
            return None
        listed = ", ".join("?" if place is None else str(place) for place in taken)
        others = f"; the {strange} marked ? are none of its frames" if strange else ""
        return (
            f"The {len(taken)} frames of {both.name} in {finding.pair.tested.backend} are, by their index in "
            f"the reference, {listed}{others}"
        )

    return describe_media(finding, 0.95, tell)


@register_rule("second_per_grid_ts differs", Stage.MEDIA)
def explain_lost_timestamps(finding: RuleInput) -> Explanation | None:
    """The time between groups of frames is not handed on."""

    def tell(both: PixelPair) -> str | None:
        ours, theirs = (side.fields.get("second_per_grid") for side in (both.reference, both.tested))
        if ours is None or ours == theirs:
            return None
        given = "none" if theirs is None else f"{theirs[0]:g}"
        return (
            f"{both.name} is given {given} as the seconds between groups of its frames in "
            f"{finding.pair.tested.backend}, and {ours[0]:g} in the reference"
        )

    return describe_media(finding, 1.0, tell)


@register_rule("pixels differ", Stage.MEDIA)
def explain_pixels(finding: RuleInput) -> Explanation | None:
    """That much is always known."""
    alone = one_sided_media(finding)
    words = describe_media(finding, 0.1, lambda both: _difference(finding, both))
    if alone:
        return 0.1, f"One side alone has {', '.join(alone)}." + (f" {words[1]}" if words else "")
    return words


def _difference(finding: RuleInput, both: PixelPair) -> str:
    backend = finding.pair.tested.backend
    if both.ours.shape != both.theirs.shape:
        shapes = f"{_by(both.theirs.shape)} values in {backend}, {_by(both.ours.shape)} in the reference"
        return f"{both.name} has {shapes}"
    if both.is_theirs(both.ours):
        return f"{both.name} has the same pixels with {_fields(both.tested)} for {_fields(both.reference)}"
    distance = np.abs(both.theirs - both.ours)
    apart = distance > 0
    return (
        f"{int(apart.sum())} of {apart.size} values of {both.name} differ in {backend}, by "
        f"{distance.max():.3g} at most and {np.sqrt(np.square(distance).mean()):.3g} in the root mean "
        f"square, where the reference's reach from {both.ours.min():.3g} to {both.ours.max():.3g}"
    )


def _is_other_medium(both: PixelPair, medium: MediaInput, array: np.ndarray) -> bool:
    """Whether the tested medium is another one of the reference."""
    return medium.fields == both.tested.fields and both.is_theirs(array)


def _list_rotations(both: PixelPair, merged: int) -> list[tuple[float, str]]:
    """Every turn after which the two pictures are nearer to each other than before, with what is left
    over, as a part of their contrast.
    """
    ours = split_images(both.reference, both.ours, merged)
    theirs = split_images(both.tested, both.theirs, merged)
    if ours is None or theirs is None or not np.isfinite(theirs).all():
        return []
    contrast = float(theirs.std()) or 1.0
    untouched = _distance(ours, theirs) if ours.shape == theirs.shape else np.inf
    found = []
    for name, turn in _TURNS.items():
        other = turn(ours)
        if other.shape == theirs.shape and (distance := _distance(other, theirs)) < untouched / 2:
            found.append((distance / contrast, name))
    return found


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.sqrt(np.square(ours - theirs).mean()))


def _format_frames(both: PixelPair) -> list[int | None]:
    """For each tested frame of a video its index in the reference, its own if that fits; None for a frame
    that the reference has not. Empty where frames cannot be told.
    """
    ours, theirs = split_frames(both.reference, both.ours), split_frames(both.tested, both.theirs)
    if (
        both.reference.modality != "video"
        or ours is None
        or theirs is None
        or ours.shape[1] != theirs.shape[1]
    ):
        return []
    taken: list[int | None] = []
    for at, frame in enumerate(theirs):
        same = [
            place for place, other in enumerate(ours) if (np.abs(frame - other) <= both.slack(other)).all()
        ]
        taken.append(at if at in same else next(iter(same), None))
    return taken


def _fields(medium: MediaInput) -> str:
    return ", ".join(f"{name} {_by(value)}" for name, value in sorted(medium.fields.items())) or "no fields"


def _by(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
