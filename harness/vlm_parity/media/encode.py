"""Pictures and frames written into files: the same bytes for the same versions of Pillow and PyAV.

What a format loses it loses here; each side then opens the same bytes.
"""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import PIL.Image

from vlm_parity.schema.media_encoding import Codec, ImageEncoding, ImageFormat, ImageMode, VideoEncoding

Image = PIL.Image.Image

MIME_OF_VIDEO = "video/mp4"
_ORIENTATION = 0x0112  # EXIF 2.32, table 4
_COLOURS = 64  # of a palette
_TIME_BASE = Fraction(1, 60000)  # seconds: whole for 24, 25, 30 and 30000/1001 a second; MPEG-4 holds 1/65535
_SAVED: dict[ImageFormat, dict[str, object]] = {
    "jpeg": {"quality": 90, "subsampling": "4:4:4"},
    "webp": {"lossless": True},
}
_CODECS: dict[Codec, tuple[str, dict[str, str]]] = {
    "mpeg4": ("mpeg4", {"flags": "+qscale+bitexact", "global_quality": str(3 * 118)}),  # 118: FF_QP2LAMBDA
    "h264": ("libx264", {"qp": "18", "flags": "+bitexact"}),
}
"""The encoder, with a constant quantiser: a bit rate would depend on the length, and x264's rate factor
gives other bytes from one time to the next, by its macroblock tree."""


def encode_image(image: Image, encoding: ImageEncoding) -> bytes:
    """The file of an RGB picture."""
    exif = PIL.Image.Exif()
    if encoding.orientation != 1:
        exif[_ORIENTATION] = encoding.orientation
    file = io.BytesIO()
    options = {**_SAVED.get(encoding.format, {}), **({"exif": exif} if len(exif) else {})}
    convert_mode(image, encoding.mode).save(file, encoding.format, **options)
    return file.getvalue()


def convert_mode(image: Image, mode: ImageMode) -> Image:
    """An RGB picture in another mode; see ``ImageEncoding`` for what becomes transparent."""
    if mode in ("RGBA", "LA"):
        return _add_alpha(image.convert(mode))
    if mode == "P":
        picture = image.quantize(_COLOURS)
        picture.info["transparency"] = picture.getpixel((0, 0))
        return picture
    if mode == "I;16":
        grey = np.asarray(image.convert("L"), np.uint16)
        return PIL.Image.fromarray(grey * 257)  # 255 becomes 65535
    return image.convert(mode)


def encode_frames(frames: np.ndarray, fps: float, encoding: VideoEncoding) -> bytes:
    """The MP4 file of frames, with 4:2:0 colours.

    Args:
        frames: uint8 [frames, height, width, 3], RGB; height and width are even.
        fps: frames a second, where the encoding gives no timestamps.
        encoding: the codec and, for a variable rate, the seconds at which each frame begins.

    Raises:
        ValueError: PyAV was built without the encoder.
    """
    import av

    name, options = _CODECS[encoding.codec]
    if name not in av.codecs_available:
        raise ValueError(f"PyAV has no encoder {name}")
    rate = Fraction(fps).limit_denominator(1001)
    times = [place / rate for place in range(len(frames))]
    if encoding.timestamps is not None:
        times = [Fraction(second).limit_denominator(1000) for second in encoding.timestamps]
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
    opaque = np.linspace(0, 255, image.width).astype(np.uint8)
    image.putalpha(PIL.Image.fromarray(np.tile(opaque, (image.height, 1))))
    return image
