"""Small media files of every format that the harness decodes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress

import av
import numpy as np
import PIL.Image

from vlm_parity.media.decode import IMAGE_FORMATS
from vlm_parity.media.draw_images import draw_image
from vlm_parity.media.encode import encode_image
from vlm_parity.schema.media_encoding import MODES, ImageEncoding
from vlm_parity.schema.media_source import ImageRecipe

_SIZE = (20, 14)
_FRAMES = 3
_RATE = 8000
_VIDEOS = (
    *(("mp4", "mpeg4"), ("mp4", "libx264"), ("matroska", "mpeg4"), ("webm", "libvpx"), ("avi", "mpeg4")),
    *(("mpegts", "mpeg2video"), ("mpeg", "mpeg1video"), ("flv", "flv"), ("gif", "gif")),
)
_AUDIOS = (
    *(
        ("wav", "pcm_s16le"),
        ("flac", "flac"),
        ("ogg", "libvorbis"),
        ("ogg", "libopus"),
        ("mp3", "libmp3lame"),
    ),
    *(("adts", "aac"), ("aiff", "pcm_s16be"), ("mp4", "aac"), ("matroska", "flac")),
)


def make_images() -> Iterator[bytes]:
    """Yield an image in each format and mode, and one with an EXIF orientation."""
    image = draw_image(ImageRecipe(pattern="gradient", size=_SIZE))
    for name, modes in MODES.items():
        for mode in sorted(modes):
            yield encode_image(image, ImageEncoding(format=name, mode=mode))
    yield encode_image(image, ImageEncoding(format="jpeg", orientation=6))
    for pillow_name in IMAGE_FORMATS:
        file = io.BytesIO()
        with suppress(OSError):  # this Pillow reads the format only
            image.save(file, pillow_name)
            yield file.getvalue()
    animated = io.BytesIO()
    image.save(animated, "GIF", save_all=True, append_images=[PIL.Image.new("RGB", _SIZE)])
    yield animated.getvalue()


def make_videos() -> Iterator[bytes]:
    """Yield a video in each container whose encoder this FFmpeg has."""
    for container, codec in _VIDEOS:
        file = io.BytesIO()
        with suppress(av.error.FFmpegError, ValueError), av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=25)
            stream.width, stream.height = _SIZE
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            for number in range(_FRAMES):
                pixels = np.full((_SIZE[1], _SIZE[0], 3), 40 * number, np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            output.mux(stream.encode(None))
        if file.getvalue():
            yield file.getvalue()


def make_audios() -> Iterator[bytes]:
    """Yield audio in each container whose encoder this FFmpeg has."""
    samples = (np.sin(np.arange(_RATE // 4) / 5) * 8000).astype(np.int16)[np.newaxis]
    for container, codec in _AUDIOS:
        file = io.BytesIO()
        with suppress(av.error.FFmpegError, ValueError), av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=_RATE)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = _RATE
            resampler = av.AudioResampler(
                stream.format, stream.layout, stream.rate, frame_size=stream.frame_size
            )
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                output.mux(stream.encode(piece))
            output.mux(stream.encode(None))
        if file.getvalue():
            yield file.getvalue()
