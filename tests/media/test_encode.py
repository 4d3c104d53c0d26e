"""Encoded recipes: a reader finds their content, and the bytes are the same every time."""

from __future__ import annotations

import io
from itertools import product

import av
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vlm_parity.media.draw_images import draw_frames, draw_image
from vlm_parity.media.encode import encode_frames, encode_image
from vlm_parity.schema.media_encoding import Codec, ImageEncoding, VideoEncoding
from vlm_parity.schema.media_source import ImageRecipe, VideoRecipe

FORMATS = ("png", "jpeg", "webp", "gif", "bmp", "tiff")
MODES = ("RGB", "RGBA", "P", "L", "LA", "CMYK", "I;16")
LOSSLESS = ("png", "webp", "bmp", "tiff")


def list_encodings(formats: tuple[str, ...] = FORMATS) -> list[ImageEncoding]:
    """List every combination that the schema accepts."""
    encodings = []
    for form, mode in product(formats, MODES):
        try:
            encodings.append(ImageEncoding.model_validate({"format": form, "mode": mode}))
        except ValidationError:
            continue
    return encodings


def format_id(encoding: ImageEncoding) -> str:
    return f"{encoding.format}-{encoding.mode}"


def open_image(content: bytes) -> PIL.Image.Image:
    with PIL.Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def decode_video(content: bytes) -> tuple[list[float], np.ndarray]:
    """Decode the seconds and frames, uint8 [frames, height, width, 3]."""
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], np.stack([f.to_ndarray(format="rgb24") for f in frames])


def draw(size: tuple[int, int] = (28, 20), seed: int = 0) -> PIL.Image.Image:
    return draw_image(ImageRecipe(pattern="gradient", size=size, seed=seed))


def draw_video(count: int) -> np.ndarray:
    return draw_frames(VideoRecipe(pattern="checkerboard", size=(64, 48), frames=count))


@pytest.mark.parametrize("encoding", list_encodings(), ids=format_id)
def test_reader_finds_the_format_and_the_mode(encoding: ImageEncoding) -> None:
    image = open_image(encode_image(draw(), encoding))
    expected = "P" if encoding.format == "gif" else encoding.mode  # a GIF always has a palette
    assert (image.format, image.mode, image.size) == (encoding.format.upper(), expected, (28, 20))
    assert image.has_transparency_data == (encoding.mode in {"RGBA", "LA", "P"})


@pytest.mark.parametrize("encoding", list_encodings(), ids=format_id)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_bytes_are_the_same_every_time(encoding: ImageEncoding, size: tuple[int, int], seed: int) -> None:
    content = encode_image(draw(size, seed), encoding)
    assert content == encode_image(draw(size, seed), encoding)
    assert open_image(content).size == size


@pytest.mark.parametrize("form", LOSSLESS)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=10, deadline=None)
def test_lossless_formats_keep_every_pixel(form: str, size: tuple[int, int]) -> None:
    encoding = ImageEncoding.model_validate({"format": form})
    np.testing.assert_array_equal(open_image(encode_image(draw(size), encoding)), draw(size))


def test_16_bits_cover_the_range_of_8() -> None:
    pixels = np.asarray(open_image(encode_image(draw(), ImageEncoding(format="png", mode="I;16"))))
    np.testing.assert_array_equal(pixels, np.asarray(draw().convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_is_written_as_exif(form: str, orientation: int) -> None:
    encoding = ImageEncoding.model_validate({"format": form, "orientation": orientation})
    with PIL.Image.open(io.BytesIO(encode_image(draw(), encoding))) as image:
        rotated = PIL.ImageOps.exif_transpose(image)
    assert rotated.size == ((28, 20) if orientation < 5 else (20, 28))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "jpeg", "mode": "RGBA"}, "jpeg supports CMYK, L, RGB, not RGBA"),
        ({"format": "gif", "orientation": 6}, "gif does not support an EXIF orientation"),
        ({"format": "png", "orientation": 9}, "less than or equal to 8"),
    ],
)
def test_unsupported_combinations_are_an_error(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageEncoding.model_validate(values)


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
@pytest.mark.parametrize("count", [1, 3, 48])
def test_video_has_every_frame(codec: Codec, count: int) -> None:
    content = encode_frames(draw_video(count), 24, VideoEncoding(codec=codec))
    seconds, pixels = decode_video(content)
    assert pixels.shape == (count, 48, 64, 3)
    np.testing.assert_allclose(seconds, np.arange(count) / 24, atol=1e-4)
    assert content == encode_frames(draw_video(count), 24, VideoEncoding(codec=codec))


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
def test_frames_keep_their_order(codec: Codec) -> None:
    gray = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, (8, 16, 16, 3))
    _, pixels = decode_video(encode_frames(gray.copy(), 10, VideoEncoding(codec=codec)))
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), np.arange(8) * 30, atol=6)


@given(steps=st.lists(st.integers(1, 3000), max_size=6))
@settings(max_examples=15, deadline=None)
def test_frames_have_their_timestamps(steps: list[int]) -> None:
    timestamps = tuple((np.cumsum([0, *steps]) / 1000).tolist())
    encoding = VideoEncoding(timestamps=timestamps)
    seconds, _ = decode_video(encode_frames(draw_video(len(timestamps)), 4, encoding))
    np.testing.assert_allclose(seconds, timestamps, atol=1e-4)


@pytest.mark.parametrize(("fps", "expected"), [(24, 24), (12.5, 12.5), (29.97, 30000 / 1001), (2, 2)])
def test_rate_is_written(fps: float, expected: float) -> None:
    with av.open(io.BytesIO(encode_frames(draw_video(7), fps, VideoEncoding()))) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("timestamps", [(0.1, 0.2), (0.0, 1.0, 1.0), (0.0, 2.0, 1.0)])
def test_timestamps_must_rise_from_0(timestamps: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"timestamps must start at 0|timestamps must increase"):
        VideoEncoding(timestamps=timestamps)
