"""Thumbnails: size, mode and content."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from vlm_parity.media.load import DecodedVideo, EncodedMedium, Image
from vlm_parity.media.thumbnail import render_thumbnail


def render(medium: Image | DecodedVideo | EncodedMedium) -> Image:
    return PIL.Image.open(io.BytesIO(render_thumbnail(medium)))


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (160, 120)), ((100, 800), (20, 160)), ((20, 10), (20, 10))]
)
def test_image_fits_and_is_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert render(PIL.Image.new("RGB", size)).size == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "I;16", "CMYK"])
def test_every_mode_is_rendered(mode: str) -> None:
    assert render(PIL.Image.new(mode, (8, 8))).size == (8, 8)


def test_image_itself_is_unchanged() -> None:
    image = PIL.Image.new("P", (640, 480))
    render_thumbnail(image)
    assert (image.mode, image.size) == ("P", (640, 480))


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (3, 3), (100, 6)])
def test_video_is_a_strip_of_its_frames(frames: int, expected: int) -> None:
    video = DecodedVideo(np.zeros((frames, 80, 80, 3), np.uint8), fps=2.0)
    assert render(video).size == (82 * expected - 2, 80)


def test_strip_goes_from_the_first_frame_to_the_last() -> None:
    gray = np.arange(20, dtype=np.uint8) * 10
    strip = render(DecodedVideo(np.broadcast_to(gray[:, None, None, None], (20, 8, 8, 3)).copy(), fps=2.0))
    assert (strip.getpixel((0, 0)), strip.getpixel((strip.width - 1, 0))) == ((0,) * 3, (190,) * 3)


def test_file_is_decoded() -> None:
    file = io.BytesIO()
    PIL.Image.new("CMYK", (20, 10)).save(file, "TIFF")
    assert render(EncodedMedium("image", file.getvalue(), "image/tiff")).size == (20, 10)


def test_16_bits_are_scaled() -> None:
    gray = PIL.Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    assert render(gray).getpixel((0, 0)) == (0x80,) * 3
