"""Thumbnails: size, mode and content."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_parity.media.load import DecodedVideo, EncodedMedium, Image
from vlm_parity.media.thumbnail import render_thumbnail, render_thumbnails
from vlm_parity.schema.case import Case
from vlm_parity.util.errors import MediaError


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


FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")


def write_image_case(folder: Path, content: bytes, encoded: bool) -> Case:
    (folder / "a.bin").write_bytes(content)
    part = {"image": {"file": "a.bin", "encoded": encoded}}
    messages = [{"role": "user", "content": [part]}]
    return Case.model_validate({"name": "a", "summary": "s", "messages": messages, "folder": folder})


def test_a_broken_file_has_a_reason_if_each_side_decodes_it(tmp_path: Path) -> None:
    file = io.BytesIO()
    PIL.Image.effect_noise((64, 64), 50).save(file, "JPEG")
    (reason,) = render_thumbnails(write_image_case(tmp_path, file.getvalue()[:-500], True))
    assert str(reason).startswith("broken image: OSError: image file is truncated")
    with pytest.raises(MediaError, match="image file is truncated"):
        render_thumbnails(write_image_case(tmp_path, file.getvalue()[:-500], False))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(format_=st.sampled_from(FORMATS), cut=st.floats(0.3, 1), data=st.data())
def test_no_damage_takes_more_than_its_own_thumbnail(
    tmp_path: Path, format_: str, cut: float, data: st.DataObject
) -> None:
    """A header that cannot be read is a usage error that names the medium; all else is for the engines."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(file, format_)
    content = bytearray(file.getvalue()[: int(len(file.getvalue()) * cut)])
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    outcome: bytes | str
    try:
        (outcome,) = render_thumbnails(write_image_case(tmp_path, bytes(content), True))
    except MediaError as error:
        outcome = str(error).removeprefix(f"case a, image 0 ({tmp_path / 'a.bin'}): ")
    assert isinstance(outcome, bytes) or outcome.startswith(("broken image", "no image", "an image of"))
