"""Data URLs of decoded media, in the forms that the chat APIs of the engines accept."""

from __future__ import annotations

import base64
import io
import wave
from fractions import Fraction

import numpy as np
import PIL.Image

from vlm_parity.media.draw_audio import FULL_SCALE
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Image

_MAX_DENOMINATOR = 1001  # of a frame rate: 30000/1001 is a common one


def encode_image_url(image: Image) -> str:
    """Encode an image as ``data:image/png;base64,...``, with every bit, its mode and its EXIF orientation.

    Raises:
        OSError: PNG does not support the mode.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, exif=image.getexif())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def encode_video_url(video: DecodedVideo) -> str:
    """Encode a video as single frames, which no decoder can change, or as a file if it has an audio track."""
    if video.audio_track is None:
        return encode_frames_url(video)
    return encode_video_file_url(video, video.audio_track)


def encode_frames_url(video: DecodedVideo) -> str:
    """Encode a video as ``data:video/jpeg;base64,<frame>,<frame>,...`` with every frame as a PNG.

    The form is named for JPEG, but in the engines Pillow detects the format of a frame, and PNG keeps every
    bit. The URL contains no frame rate.
    """
    return "data:video/jpeg;base64," + ",".join(_encode_png(frame) for frame in video.frames)


def get_common_rate(videos: list[DecodedVideo]) -> float | None:
    """Return the frame rate of all videos, in frames a second; None if there is no video.

    Raises:
        ValueError: the rates differ. The engines accept one rate per request for single frames.
    """
    rates = sorted({video.fps for video in videos})
    if len(rates) > 1:
        raise ValueError(f"single frames go with one frame rate a request, and the videos have {rates}")
    return rates[0] if rates else None


def _encode_png(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def encode_video_file_url(video: DecodedVideo, audio: DecodedAudio) -> str:
    """Encode a video with audio as ``data:video/x-matroska;base64,...``.

    The file keeps every bit of the frames (FFV1 in RGB), and 16 bits per sample (PCM).
    """
    import av

    file = io.BytesIO()
    rate = Fraction(video.fps).limit_denominator(_MAX_DENOMINATOR)
    with av.open(file, "w", format="matroska") as container:
        frames = container.add_stream("ffv1", rate=rate)
        frames.height, frames.width = video.frames.shape[1:3]
        frames.pix_fmt = "bgr0"
        samples = container.add_stream("pcm_s16le", rate=audio.rate, layout="mono")
        for frame in video.frames:
            container.mux(frames.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(frames.encode())
        piece = av.AudioFrame.from_ndarray(to_int16(audio)[None], "s16", "mono")
        piece.rate = audio.rate
        container.mux(samples.encode(piece))
        container.mux(samples.encode())
    return "data:video/x-matroska;base64," + base64.b64encode(file.getvalue()).decode()


def to_int16(audio: DecodedAudio) -> np.ndarray:
    """Convert audio to int16 [samples], little-endian."""
    samples: np.ndarray = (audio.samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    return samples


def encode_audio_url(audio: DecodedAudio) -> str:
    """Encode audio as ``data:audio/wav;base64,...`` with 16 bits per sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(audio.rate)
        wav.writeframes(to_int16(audio).tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
