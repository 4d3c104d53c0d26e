"""Images and videos encoded as files: the same bytes for the same versions of Pillow and PyAV.

A lossy format loses information only here: every backend decodes the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import PIL.Image

from vlm_parity.schema.media_encoding import Codec, ImageEncoding, ImageFormat, ImageMode, VideoEncoding

Image = PIL.Image.Image

MIME_OF_VIDEO = "video/mp4"
_ORIENTATION = 0x0112  # EXIF 2.32, table 4
_COLORS = 64  # of a palette
_TIME_BASE = Fraction(1, 60000)  # seconds: whole for 24, 25, 30 and 30000/1001 a second; MPEG-4 holds 1/65535
_SAVE_OPTIONS: dict[ImageFormat, dict[str, object]] = {
    "jpeg": {"quality": 90, "subsampling": "4:4:4"},
    "webp": {"lossless": True},
}
_CODECS: dict[Codec, tuple[str, dict[str, str]]] = {
    "mpeg4": ("mpeg4", {"flags": "+qscale+bitexact", "global_quality": str(3 * 118)}),  # 118: FF_QP2LAMBDA
    "h264": ("libx264", {"qp": "18", "flags": "+bitexact"}),
}
"""The encoder and its options, with a constant quantizer.

A bit rate would depend on the length, and the macroblock tree of x264's rate factor is not reproducible.
"""


def encode_image(image: Image, encoding: ImageEncoding) -> bytes:
    """Encode an RGB image as a file."""
    exif = PIL.Image.Exif()
    if encoding.orientation != 1:
        exif[_ORIENTATION] = encoding.orientation
    file = io.BytesIO()
    options = {**_SAVE_OPTIONS.get(encoding.format, {}), **({"exif": exif} if len(exif) else {})}
    convert_mode(image, encoding.mode).save(file, encoding.format, **options)
    return file.getvalue()


def convert_mode(image: Image, mode: ImageMode) -> Image:
    """Convert an RGB image to another mode; ``ImageEncoding`` documents the transparent pixels."""
    if mode in ("RGBA", "LA"):
        return _add_alpha(image.convert(mode))
    if mode == "P":
        palette_image = image.quantize(_COLORS)
        palette_image.info["transparency"] = palette_image.getpixel((0, 0))
        return palette_image
    if mode == "I;16":
        gray = np.asarray(image.convert("L"), np.uint16)
        return PIL.Image.fromarray(gray * 257)  # 255 becomes 65535
    return image.convert(mode)


def encode_frames(frames: np.ndarray, fps: float, encoding: VideoEncoding) -> bytes:
    """Encode frames as an MP4 file with 4:2:0 chroma subsampling.

    Args:
        frames: uint8 [frames, height, width, 3], RGB; height and width are even.
        fps: frames a second, if the encoding has no timestamps.
        encoding: the codec and, for a variable rate, the start of each frame in seconds.

    Raises:
        ValueError: PyAV was built without the encoder, or the encoder does not support the size or the times.
    """
    import av

    name, _ = _CODECS[encoding.codec]
    if name not in av.codecs_available:
        raise ValueError(f"PyAV has no encoder {name}")
    rate = Fraction(fps).limit_denominator(1001)
    times = [index / rate for index in range(len(frames))]
    if encoding.timestamps is not None:
        times = [Fraction(second).limit_denominator(1000) for second in encoding.timestamps]
    try:
        return _write_frames(frames, rate, times, encoding.codec)
    except av.error.FFmpegError as error:
        size = f"{len(frames)} frames of {frames.shape[2]} x {frames.shape[1]}"
        raise ValueError(f"{size} cannot be encoded as {encoding.codec}: {error}") from error


def _write_frames(frames: np.ndarray, rate: Fraction, times: Sequence[Fraction], codec: Codec) -> bytes:
    import av

    name, options = _CODECS[codec]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(name, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = _TIME_BASE
        for pixels, second in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.time_base, frame.pts = _TIME_BASE, round(second / _TIME_BASE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _add_alpha(image: Image) -> Image:
    alpha = np.linspace(0, 255, image.width).astype(np.uint8)
    image.putalpha(PIL.Image.fromarray(np.tile(alpha, (image.height, 1))))
    return image
