"""A decoded sound as one URL, in the form that the engines' chats take."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np

from harness.media.load import Audio
from harness.media.sounds import FULL_SCALE


def in_16_bits(sound: Audio) -> np.ndarray:
    """int16 [samples], little-endian"""
    samples: np.ndarray = (sound.samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    return samples


def sound_url(sound: Audio) -> str:
    """``data:audio/wav;base64,...`` with 16 bits a sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(sound.rate)
        wav.writeframes(in_16_bits(sound).tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
