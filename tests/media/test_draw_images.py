"""Patterns: the same everywhere, and no two orders alike."""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
import pytest

from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.schema.media_source import ImageRecipe, Pattern, VideoRecipe

PATTERNS = tuple(name for name in get_args(Pattern) if name != "plain")


def drawn(pattern: Pattern, size: tuple[int, int] = (40, 30), seed: int = 0) -> np.ndarray:
    return np.asarray(draw_image(ImageRecipe(pattern=pattern, size=size, seed=seed, text="Ab 3")))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_picture_has_the_size_of_its_recipe(pattern: Pattern) -> None:
    assert drawn(pattern).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("pattern", "digest"),
    [
        ("gradient", "556f994031cadcf5"),
        ("checkerboard", "f369da50a067e707"),
        ("text", "857db1d797f66148"),
    ],
)
def test_pixels_never_change(pattern: Pattern, digest: str) -> None:
    """A change here changes every case, and makes old reports incomparable."""
    assert hashlib.sha256(drawn(pattern).tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "change",
    [np.fliplr, np.flipud, lambda pixels: pixels[..., ::-1], lambda pixels: np.roll(pixels, 14, axis=1)],
    ids=["mirrored", "upside down", "channels swapped", "patches rolled"],
)
def test_another_order_is_far_away(pattern: Pattern, change: object) -> None:
    pixels = drawn(pattern, (112, 84)).astype(int)
    assert np.abs(pixels - change(pixels)).mean() > 20  # type: ignore[operator]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_another_seed_is_another_picture(pattern: Pattern) -> None:
    assert (drawn(pattern, seed=0) != drawn(pattern, seed=1)).mean() > 0.5


@pytest.mark.parametrize("pattern", PATTERNS)
def test_smallest_picture(pattern: Pattern) -> None:
    assert drawn(pattern, (1, 1)).shape == (1, 1, 3)


def test_foreign_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        draw_image(ImageRecipe(pattern="text", size=(40, 30), text="图"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_frame_differs_from_every_other(pattern: Pattern) -> None:
    frames = draw_frames(VideoRecipe(pattern=pattern, size=(112, 84), frames=13, text="Ab 3"))
    assert frames.shape == (13, 84, 112, 3)
    assert len({frame.tobytes() for frame in frames}) == 13


def test_a_plain_picture_is_of_one_colour_and_so_are_its_frames() -> None:
    picture = drawn("plain")
    assert picture.shape == (30, 40, 3)
    assert (picture == picture[0, 0]).all()
    frames = draw_frames(VideoRecipe(pattern="plain", size=(40, 30), frames=3))
    assert frames.shape == (3, 30, 40, 3)
    assert (frames == picture).all()
