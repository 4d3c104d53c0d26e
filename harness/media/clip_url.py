"""A decoded video with its sound as one URL: a file of both, as a chat takes it whose model is to hear it."""

from __future__ import annotations

import base64
import io
from fractions import Fraction

import numpy as np

from harness.media.load import Audio, Video
from harness.media.sound_url import in_16_bits

_LARGEST_DENOMINATOR = 1001  # of a frame rate; 30000/1001 is one that films have


def clip_url(video: Video, sound: Audio) -> str:
    """``data:video/x-matroska;base64,...`` that keeps every bit of the frames (FFV1 in RGB) and 16 bits a
    sample (PCM)."""
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
        piece = av.AudioFrame.from_ndarray(in_16_bits(sound)[None], "s16", "mono")
        piece.rate = sound.rate
        container.mux(samples.encode(piece))
        container.mux(samples.encode())
    return "data:video/x-matroska;base64," + base64.b64encode(file.getvalue()).decode()
