"""Recipes of pictures, videos and sounds: Hypothesis strategies."""

from __future__ import annotations

from functools import cache
from typing import get_args

from hypothesis import strategies as st

from vlm_parity.fuzz.search_space import SearchSpace
from vlm_parity.schema.media_encoding import MODES, WITH_EXIF, ImageEncoding, VideoEncoding
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, Pattern, VideoRecipe, Waveform

SAMPLE_RATES = (16000, 8000, 11025, 22050, 24000, 44100, 48000)
"""Samples a second."""
MAX_FRAMES = 16
MIN_SIDE = 1 / 128
MAX_SECONDS = 2.0
"""Of a sound; both are floats of 32 bits."""
MAX_PIXELS = 200_000
"""Of one picture: an example has to take milliseconds."""
MAX_FRAME_PIXELS = 40_000
_MIN_FRAME_SIDE = 5
"""Pixels: processors guess which axis of a video has its channels, and take up to four rows for them."""
_MIN_FILE_SIDE = 32
"""Pixels: of fewer nobody can tell what alpha or a turn did to them, and shrinking goes for the fewest."""
_PATTERNS: tuple[Pattern, ...] = ("gradient", "checkerboard")  # ``text`` adds nothing a front end looks at

Size = tuple[int, int]


@cache
def draw_sizes(ground: SearchSpace, most: int) -> st.SearchStrategy[Size]:
    """Width and height in pixels: small ones, those around what is rounded to, and long strips, up to beyond
    the ratio of 200 that Qwen's processors refuse.

    Args:
        ground: of the model.
        most: pixels.
    """
    edges = st.builds(
        lambda edge, times, beside: max(1, edge * times + beside),
        st.sampled_from(ground.edges),
        st.integers(1, 12),
        st.integers(-1, 1),
    )
    sides = st.one_of(st.integers(1, 64), edges, st.integers(65, 448))
    strips = st.builds(
        lambda short, ratio, beside, lying: _orient((max(1, short * ratio + beside), short), lying),
        st.integers(1, 4),
        st.sampled_from((10, 50, 199, 200, 201, 250)),
        st.integers(-1, 1),
        st.booleans(),
    )
    found = st.one_of(st.tuples(sides, sides), st.tuples(sides, sides), strips)
    return found.filter(lambda size: size[0] * size[1] <= most)


def _orient(size: Size, lying: bool) -> Size:
    return size if lying else (size[1], size[0])


@st.composite
def image_encodings(draw: st.DrawFn) -> ImageEncoding:
    """A picture file in every format, mode and orientation that there are."""
    format_ = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(sorted(MODES[format_])))
    # Of a picture that is transparent and turned, each difference would hide the other.
    orientation = draw(st.integers(1, 8)) if format_ in WITH_EXIF and "A" not in mode else 1
    return ImageEncoding(format=format_, mode=mode, orientation=orientation)


@cache
def draw_images(ground: SearchSpace) -> st.SearchStrategy[ImageRecipe]:
    """Pictures, one in five as a file."""
    drawn = draw_sizes(ground, MAX_PIXELS)
    decoded = _images(drawn, st.none())
    files = _images(drawn.map(_fits_file), image_encodings())
    return st.one_of(*[decoded] * 4, files)


def _images(
    size: st.SearchStrategy[Size], encoded: st.SearchStrategy[ImageEncoding | None]
) -> st.SearchStrategy[ImageRecipe]:
    pattern, seed = st.sampled_from(_PATTERNS), st.integers(0, 3)
    return st.builds(ImageRecipe, pattern=pattern, size=size, seed=seed, encoded=encoded)


def _fits_file(size: Size) -> Size:
    return max(size[0], _MIN_FILE_SIDE), max(size[1], _MIN_FILE_SIDE)


@cache
def draw_audio_recipes() -> st.SearchStrategy[AudioRecipe]:
    """Sounds from a fraction of a hop on."""
    return st.builds(
        AudioRecipe,
        waveform=st.sampled_from(get_args(Waveform)),
        seconds=st.one_of(
            st.integers(1, 20).map(lambda tenths: tenths / 10), st.floats(MIN_SIDE, MAX_SECONDS, width=32)
        ),
        rate=st.sampled_from(SAMPLE_RATES),
        seed=st.integers(0, 3),
    )


@st.composite
def draw_videos(draw: st.DrawFn, ground: SearchSpace, fps: float, encoded: bool, heard: bool) -> VideoRecipe:
    """A video.

    Args:
        draw: Hypothesis's.
        ground: of the model.
        fps: frames a second; engines take one for all videos of a case.
        encoded: whether it is a file.
        heard: whether it has a sound.
    """
    drawn = draw(draw_sizes(ground, MAX_FRAME_PIXELS))
    width, height = (max(side, _MIN_FRAME_SIDE) for side in drawn)
    if encoded:  # even sides
        width, height = width + width % 2, height + height % 2
    return VideoRecipe(
        pattern=draw(st.sampled_from(_PATTERNS)),
        size=(width, height),
        frames=draw(st.integers(1, MAX_FRAMES)),
        fps=fps,
        seed=draw(st.integers(0, 3)),
        encoded=VideoEncoding() if encoded else None,
        audio_track=draw(draw_audio_recipes()) if heard and not encoded else None,
    )
