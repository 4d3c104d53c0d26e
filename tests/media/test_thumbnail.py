"""Thumbnails: small, and true to what they show."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from vlm_parity.media.load import DecodedVideo, EncodedMedium, Image
from vlm_parity.media.thumbnail import render_thumbnail


def shown(medium: Image | DecodedVideo | EncodedMedium) -> Image:
    return PIL.Image.open(io.BytesIO(render_thumbnail(medium)))


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (160, 120)), ((100, 800), (20, 160)), ((20, 10), (20, 10))]
)
def test_picture_fits_and_is_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shown(PIL.Image.new("RGB", size)).size == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "I;16", "CMYK"])
def test_every_mode_can_be_shown(mode: str) -> None:
    assert shown(PIL.Image.new(mode, (8, 8))).size == (8, 8)


def test_picture_itself_stays_as_it_is() -> None:
    picture = PIL.Image.new("P", (640, 480))
    render_thumbnail(picture)
    assert (picture.mode, picture.size) == ("P", (640, 480))


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (3, 3), (100, 6)])
def test_video_is_a_strip_of_its_frames(frames: int, expected: int) -> None:
    video = DecodedVideo(np.zeros((frames, 80, 80, 3), np.uint8), fps=2.0)
    assert shown(video).size == (82 * expected - 2, 80)


def test_strip_goes_from_the_first_frame_to_the_last() -> None:
    grey = np.arange(20, dtype=np.uint8) * 10
    strip = shown(DecodedVideo(np.broadcast_to(grey[:, None, None, None], (20, 8, 8, 3)).copy(), fps=2.0))
    assert (strip.getpixel((0, 0)), strip.getpixel((strip.width - 1, 0))) == ((0,) * 3, (190,) * 3)


def test_a_file_is_shown_as_what_it_holds() -> None:
    file = io.BytesIO()
    PIL.Image.new("CMYK", (20, 10)).save(file, "TIFF")
    assert shown(EncodedMedium("image", file.getvalue(), "image/tiff")).size == (20, 10)


def test_16_bits_are_scaled_and_not_cut_off() -> None:
    grey = PIL.Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    assert shown(grey).getpixel((0, 0)) == (0x80,) * 3
