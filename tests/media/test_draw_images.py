"""Patterns: the same on every platform, and different after any reordering."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import get_args

import numpy as np
import pytest

from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.schema.media_source import ImageRecipe, Pattern, VideoRecipe

PATTERNS = tuple(name for name in get_args(Pattern) if name != "plain")


def draw(pattern: Pattern, size: tuple[int, int] = (40, 30), seed: int = 0) -> np.ndarray:
    return np.asarray(draw_image(ImageRecipe(pattern=pattern, size=size, seed=seed, text="Ab 3")))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_image_has_the_size_of_its_recipe(pattern: Pattern) -> None:
    assert draw(pattern).shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("pattern", "digest"),
    [
        ("gradient", "556f994031cadcf5"),
        ("checkerboard", "f369da50a067e707"),
        ("text", "857db1d797f66148"),
    ],
)
def test_pixels_never_change(pattern: Pattern, digest: str) -> None:
    """Guard every case: a change here makes old reports incomparable."""
    assert hashlib.sha256(draw(pattern).tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("pattern", "digest"),
    [
        ("gradient", "c0e6367232e33550"),
        ("checkerboard", "48ec1b6a396238aa"),
        ("text", "315e7c368bacf510"),
    ],
)
def test_large_image_is_drawn_in_bands(pattern: Pattern, digest: str) -> None:
    """Guard the pixels, which are those of an image drawn at once, and the memory: that takes 288 MB."""
    tracemalloc.start()
    pixels = draw(pattern, (2000, 1500), seed=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == digest
    assert peak < 120e6


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "change",
    [np.fliplr, np.flipud, lambda pixels: pixels[..., ::-1], lambda pixels: np.roll(pixels, 14, axis=1)],
    ids=["mirrored", "upside down", "channels swapped", "patches rolled"],
)
def test_reordered_pixels_differ_widely(pattern: Pattern, change: object) -> None:
    pixels = draw(pattern, (112, 84)).astype(int)
    assert np.abs(pixels - change(pixels)).mean() > 20  # type: ignore[operator]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_seed_changes_the_image(pattern: Pattern) -> None:
    assert (draw(pattern, seed=0) != draw(pattern, seed=1)).mean() > 0.5


@pytest.mark.parametrize("pattern", PATTERNS)
def test_smallest_image(pattern: Pattern) -> None:
    assert draw(pattern, (1, 1)).shape == (1, 1, 3)


def test_letters_outside_latin_1_are_an_error() -> None:
    with pytest.raises(ValueError, match="latin-1"):
        draw_image(ImageRecipe(pattern="text", size=(40, 30), text="图"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_frames_differ(pattern: Pattern) -> None:
    frames = draw_frames(VideoRecipe(pattern=pattern, size=(112, 84), frames=13, text="Ab 3"))
    assert frames.shape == (13, 84, 112, 3)
    assert len({frame.tobytes() for frame in frames}) == 13


def test_plain_images_and_frames_have_one_color() -> None:
    image = draw("plain")
    assert image.shape == (30, 40, 3)
    assert (image == image[0, 0]).all()
    frames = draw_frames(VideoRecipe(pattern="plain", size=(40, 30), frames=3))
    assert frames.shape == (3, 30, 40, 3)
    assert (frames == image).all()
