"""Decoded media as data URLs, in the forms that the engines' chat APIs accept."""

from __future__ import annotations

import base64
import io
import wave
from fractions import Fraction

import numpy as np
import PIL.Image

from vlm_parity.media.draw_audio import FULL_SCALE
from vlm_parity.media.load import DecodedAudio, DecodedVideo, Image

_LARGEST_DENOMINATOR = 1001  # of a frame rate; 30000/1001 is one that films have


def encode_image_url(image: Image) -> str:
    """``data:image/png;base64,...``: every bit, its mode and how it is to be turned.

    Raises:
        OSError: PNG has no such mode.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, exif=image.getexif())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def encode_video_url(video: DecodedVideo) -> str:
    """Single frames, since no decoder then has a say; a file where there is a sound to hear with them."""
    return (
        encode_frames_url(video) if video.audio_track is None else encode_clip_url(video, video.audio_track)
    )


def encode_frames_url(video: DecodedVideo) -> str:
    """``data:video/jpeg;base64,<frame>,<frame>,...`` with every frame as a PNG.

    The form is named for JPEG, but the engines have Pillow find out what a frame is, and PNG keeps
    every bit. It carries no frame rate.
    """
    return "data:video/jpeg;base64," + ",".join(_encode_png(frame) for frame in video.frames)


def get_common_rate(videos: list[DecodedVideo]) -> float | None:
    """The frame rate of all videos, in frames a second; None where there is no video.

    Raises:
        ValueError: they differ. The engines take one rate a request in this form.
    """
    rates = sorted({video.fps for video in videos})
    if len(rates) > 1:
        raise ValueError(f"single frames go with one frame rate a request, and the videos have {rates}")
    return rates[0] if rates else None


def _encode_png(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def encode_clip_url(video: DecodedVideo, sound: DecodedAudio) -> str:
    """``data:video/x-matroska;base64,...`` that keeps every bit of the frames (FFV1 in RGB) and 16 bits a
    sample (PCM).
    """
    import av

    file = io.BytesIO()
    rate = Fraction(video.fps).limit_denominator(_LARGEST_DENOMINATOR)
    with av.open(file, "w", format="matroska") as container:
        frames = container.add_stream("ffv1", rate=rate)
        frames.height, frames.width = video.frames.shape[1:3]
        frames.pix_fmt = "bgr0"
        samples = container.add_stream("pcm_s16le", rate=sound.rate, layout="mono")
        for frame in video.frames:
            container.mux(frames.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(frames.encode())
        piece = av.AudioFrame.from_ndarray(to_int16(sound)[None], "s16", "mono")
        piece.rate = sound.rate
        container.mux(samples.encode(piece))
        container.mux(samples.encode())
    return "data:video/x-matroska;base64," + base64.b64encode(file.getvalue()).decode()


def to_int16(sound: DecodedAudio) -> np.ndarray:
    """int16 [samples], little-endian"""
    samples: np.ndarray = (sound.samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    return samples


def encode_audio_url(sound: DecodedAudio) -> str:
    """``data:audio/wav;base64,...`` with 16 bits a sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(sound.rate)
        wav.writeframes(to_int16(sound).tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
