"""Decoding of media files that others wrote, with limits and without access to anything but their content.

Pillow and FFmpeg know hundreds of formats. Some name other files or addresses, which a decoder would open:
playlists, lists of files, session descriptions. So only the formats below are read, from memory.
"""

from __future__ import annotations

import io
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import PIL.Image

from vlm_parity.schema.media_limits import (
    BYTES_PER_IMAGE_PIXEL,
    BYTES_PER_PIXEL,
    BYTES_PER_SAMPLE,
    MAX_AUDIO_RATE,
    MAX_AUDIO_SECONDS,
    MAX_DECODED_BYTES,
    MAX_FRAMES,
    MAX_IMAGE_PIXELS,
    MIN_AUDIO_RATE,
    check_pixels,
)
from vlm_parity.util.errors import DecodeError

IMAGE_FORMATS: tuple[str, ...] = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""Names of Pillow's plug-ins."""
if find_spec("PIL.AvifImagePlugin") is not None:  # since Pillow 11.3
    IMAGE_FORMATS += ("AVIF",)
CONTAINERS = (
    *("mp4", "matroska", "avi", "mpegts", "mpeg", "flv", "gif"),
    *("ogg", "wav", "flac", "mp3", "aac", "aiff"),
)
"""Names of FFmpeg's demuxers; ``mp4`` is also MOV and M4A, ``matroska`` is also WebM."""

_VIDEO_TYPES = {
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "flv": "video/x-flv",
    "gif": "image/gif",
    "ogg": "video/ogg",
}
"""MIME types by the first name of FFmpeg's demuxer."""
_EBML_HEADER = 64
"""Bytes in which a Matroska file says whether it is WebM."""
_CONTAINER_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": ""}
_DECODER_OPTIONS = {"max_pixels": str(MAX_IMAGE_PIXELS)}
"""A stream may change the size of its frames: FFmpeg checks each before it allocates it."""


def decode_image(content: bytes, max_bytes: int = MAX_DECODED_BYTES) -> PIL.Image.Image:
    """Decode the first frame of an image in its own mode.

    Raises:
        DecodeError: the content is broken, of another format, or larger than ``max_bytes`` when decoded.
    """
    with _open_image(content) as image:
        _check_total(image.width * image.height * BYTES_PER_IMAGE_PIXEL, max_bytes)
        with _report_broken("image"):
            image.load()
        return image


def check_image(content: bytes) -> str:
    """Check the format and the size of an image, without decoding it.

    Returns:
        Its MIME type, by its content: ``image/png``.

    Raises:
        DecodeError: as ``decode_image``.
    """
    with _open_image(content) as image:
        # A file of several images, as telephones write it, begins with a JPEG, and is read as one.
        return "image/jpeg" if image.format == "MPO" else PIL.Image.MIME[str(image.format)]


def _open_image(content: bytes) -> PIL.Image.Image:
    with _report_broken("image"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
                image = PIL.Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
        except PIL.UnidentifiedImageError as error:
            raise DecodeError(f"no image in one of the formats {', '.join(IMAGE_FORMATS)}") from error
        except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
            raise DecodeError(f"an image of more than {MAX_IMAGE_PIXELS / 1e6:.0f} megapixels") from error
    _check_size(image.width, image.height)
    return image


def decode_video(content: bytes, max_bytes: int = MAX_DECODED_BYTES) -> tuple[np.ndarray, float]:
    """Decode all frames of a video.

    Returns:
        The frames, uint8 [frames, height, width, 3] in RGB, and their number a second.

    Raises:
        DecodeError: as ``decode_image``.
    """
    frames: deque[np.ndarray] = deque()
    with _report_broken("video"), _open_container(content, "video") as container:
        stream = _get_video_stream(container, max_bytes)
        rate = stream.average_rate
        size = 0
        for frame in container.decode(stream):
            if len(frames) == MAX_FRAMES:
                raise DecodeError(f"a video of more than {MAX_FRAMES} frames")
            size += frame.width * frame.height * BYTES_PER_PIXEL
            _check_total(size, max_bytes)
            frames.append(frame.to_ndarray(format="rgb24"))
    if not frames or not rate:
        raise DecodeError(f"no video: {len(frames)} frames at a rate of {rate}")
    if len({frame.shape for frame in frames}) > 1:
        raise DecodeError("frames of different sizes")
    video = np.empty((len(frames), *frames[0].shape), np.uint8)
    for index in range(len(video)):
        video[index] = frames.popleft()  # np.stack would need the memory twice
    return video, float(rate)


def check_video(content: bytes) -> str:
    """Check the format and the size of a video as its header states them, without decoding it.

    Returns:
        Its MIME type, by its content: ``video/mp4``.

    Raises:
        DecodeError: as ``decode_image``.
    """
    with _report_broken("video"), _open_container(content, "video") as container:
        _get_video_stream(container, MAX_DECODED_BYTES)
        demuxer = container.format.name.partition(",")[0]
    if content[8:12] == b"qt  ":
        return "video/quicktime"
    if demuxer == "matroska" and b"webm" in content[:_EBML_HEADER]:
        return "video/webm"
    return _VIDEO_TYPES.get(demuxer, "application/octet-stream")


def _get_video_stream(container: Any, max_bytes: int) -> Any:
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise DecodeError("no video: it has no frames")
    if stream.codec_context is None:
        raise DecodeError("broken video, or of a codec that FFmpeg does not know")
    stream.codec_context.options = _DECODER_OPTIONS
    _check_size(stream.width, stream.height)
    if stream.frames > MAX_FRAMES:
        raise DecodeError(f"a video of {stream.frames} frames, and the limit is {MAX_FRAMES}")
    _check_total(stream.width * stream.height * stream.frames * BYTES_PER_PIXEL, max_bytes)
    return stream


def decode_audio(content: bytes, max_bytes: int = MAX_DECODED_BYTES) -> tuple[np.ndarray, int]:
    """Decode audio at the rate of the file, with all channels mixed to one.

    Returns:
        The samples, float32 [samples], and their number a second.

    Raises:
        DecodeError: as ``decode_image``.
    """
    import av

    pieces: list[np.ndarray] = []
    with _report_broken("audio"), _open_container(content, "audio") as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise DecodeError("no audio")
        if stream.codec_context is None:
            raise DecodeError("broken audio, or of a codec that FFmpeg does not know")
        rate = stream.rate
        if not MIN_AUDIO_RATE <= rate <= MAX_AUDIO_RATE:
            raise DecodeError(f"{rate} samples a second; {MIN_AUDIO_RATE} to {MAX_AUDIO_RATE} are supported")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        count = 0
        for frame in _append_none(container.decode(stream)):
            for piece in resampler.resample(frame):
                pieces.append(piece.to_ndarray().reshape(-1))
                count += len(pieces[-1])
            if count > MAX_AUDIO_SECONDS * rate:
                raise DecodeError(f"audio of more than {MAX_AUDIO_SECONDS:.0f} seconds")
            _check_total(count * BYTES_PER_SAMPLE, max_bytes)
    if not pieces:
        raise DecodeError("audio without samples")
    return np.concatenate(pieces), rate


def _append_none(frames: Iterator[Any]) -> Iterator[Any]:
    """Yield the frames, then None, on which a resampler returns the rest."""
    yield from frames
    yield None


def _open_container(content: bytes, kind: str) -> Any:
    """Open a file in memory.

    Options for the container only: with others, PyAV 12 crashes on formats that have no header.
    """
    import av

    try:
        return av.open(io.BytesIO(content), container_options=_CONTAINER_OPTIONS)
    except av.error.FFmpegError as error:
        raise DecodeError(f"broken {kind}, or in none of the formats {', '.join(CONTAINERS)}") from error


@contextmanager
def _report_broken(kind: str) -> Iterator[None]:
    """Turn any exception of a decoder into a ``DecodeError``.

    On broken content Pillow and PyAV raise, among others, ``SyntaxError``, ``struct.error``,
    ``RuntimeError``, ``IndexError``, ``OverflowError`` and ``MemoryError``.
    """
    try:
        yield
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"broken {kind}: {type(error).__name__}: {error}") from error


def _check_size(width: int, height: int) -> None:
    try:
        check_pixels(width, height)
    except ValueError as error:
        raise DecodeError(str(error)) from error


def _check_total(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DecodeError(
            f"too large: all media of a case together may have {MAX_DECODED_BYTES / 2**30:.0f} GiB when "
            "decoded"
        )
