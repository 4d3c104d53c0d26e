"""Hypothesis strategies for the recipes of images, videos and audio."""

from __future__ import annotations

from functools import cache
from typing import get_args

from hypothesis import strategies as st

from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.schema.media_encoding import MODES, WITH_EXIF, ImageEncoding, VideoEncoding
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, Pattern, VideoRecipe, Waveform

SAMPLE_RATES = (16000, 8000, 11025, 22050, 24000, 44100, 48000)
"""Samples per second."""
MAX_FRAMES = 16
MIN_SECONDS, MAX_SECONDS = 1 / 128, 2.0
"""The length of audio; both are exact as 32-bit floats."""
MAX_PIXELS = 200_000
"""The maximum size of an image, so that an example takes milliseconds."""
MAX_FRAME_PIXELS = 40_000
_MIN_FRAME_SIDE = 5
"""Pixels. Processors guess which axis holds the channels of a video, and mistake up to four rows for them."""
_MIN_FILE_SIDE = 32
"""Pixels. Smaller images, to which shrinking leads, do not show the effect of alpha or a rotation."""
_PATTERNS: tuple[Pattern, ...] = ("gradient", "checkerboard")  # ``text`` makes no difference to a front end

Size = tuple[int, int]


@cache
def draw_sizes(space: SearchSpace, max_pixels: int) -> st.SearchStrategy[Size]:
    """Return a strategy for width and height in pixels.

    The sizes are small, or near the multiples to which processors round, or long strips: with aspect ratios
    above 200, which the processors of Qwen refuse.

    Args:
        space: of the model.
        max_pixels: upper limit of the area.
    """
    edges = st.builds(
        lambda edge, times, offset: max(1, edge * times + offset),
        st.sampled_from(space.edges),
        st.integers(1, 12),
        st.integers(-1, 1),
    )
    sides = st.one_of(st.integers(1, 64), edges, st.integers(65, 448))
    strips = st.builds(
        lambda short, ratio, offset, landscape: _orient((max(1, short * ratio + offset), short), landscape),
        st.integers(1, 4),
        st.sampled_from((10, 50, 199, 200, 201, 250)),
        st.integers(-1, 1),
        st.booleans(),
    )
    sizes = st.one_of(st.tuples(sides, sides), st.tuples(sides, sides), strips)
    return sizes.filter(lambda size: size[0] * size[1] <= max_pixels)


def _orient(size: Size, landscape: bool) -> Size:
    return size if landscape else (size[1], size[0])


@st.composite
def draw_image_encodings(draw: st.DrawFn) -> ImageEncoding:
    """Draw an image file format with its mode and EXIF orientation."""
    format_ = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(sorted(MODES[format_])))
    # Transparency and rotation together would hide the difference of either.
    orientation = draw(st.integers(1, 8)) if format_ in WITH_EXIF and "A" not in mode else 1
    return ImageEncoding(format=format_, mode=mode, orientation=orientation)


@cache
def draw_images(space: SearchSpace) -> st.SearchStrategy[ImageRecipe]:
    """Return a strategy for images, one in five as a file."""
    sizes = draw_sizes(space, MAX_PIXELS)
    decoded = _build_images(sizes, st.none())
    files = _build_images(sizes.map(_enlarge_to_file), draw_image_encodings())
    return st.one_of(*[decoded] * 4, files)


def _build_images(
    size: st.SearchStrategy[Size], encoded: st.SearchStrategy[ImageEncoding | None]
) -> st.SearchStrategy[ImageRecipe]:
    pattern, seed = st.sampled_from(_PATTERNS), st.integers(0, 3)
    return st.builds(ImageRecipe, pattern=pattern, size=size, seed=seed, encoded=encoded)


def _enlarge_to_file(size: Size) -> Size:
    return max(size[0], _MIN_FILE_SIDE), max(size[1], _MIN_FILE_SIDE)


@cache
def draw_audio_recipes() -> st.SearchStrategy[AudioRecipe]:
    """Return a strategy for audio, from a fraction of a hop length on."""
    return st.builds(
        AudioRecipe,
        waveform=st.sampled_from(get_args(Waveform)),
        seconds=st.one_of(
            st.integers(1, 20).map(lambda tenths: tenths / 10), st.floats(MIN_SECONDS, MAX_SECONDS, width=32)
        ),
        rate=st.sampled_from(SAMPLE_RATES),
        seed=st.integers(0, 3),
    )


@st.composite
def draw_videos(
    draw: st.DrawFn, space: SearchSpace, fps: float, encoded: bool, with_audio_track: bool
) -> VideoRecipe:
    """Draw a video.

    Args:
        draw: the function of Hypothesis.
        space: of the model.
        fps: frames per second; engines accept one value for all videos of a case.
        encoded: True for a file.
        with_audio_track: True for a video with audio.
    """
    size = draw(draw_sizes(space, MAX_FRAME_PIXELS))
    width, height = (max(side, _MIN_FRAME_SIDE) for side in size)
    if encoded:  # video codecs need even sides
        width, height = width + width % 2, height + height % 2
    return VideoRecipe(
        pattern=draw(st.sampled_from(_PATTERNS)),
        size=(width, height),
        frames=draw(st.integers(1, MAX_FRAMES)),
        fps=fps,
        seed=draw(st.integers(0, 3)),
        encoded=VideoEncoding() if encoded else None,
        audio_track=draw(draw_audio_recipes()) if with_audio_track and not encoded else None,
    )
