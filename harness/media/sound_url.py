"""A decoded sound as one URL, in the form that the engines' chats take."""

from __future__ import annotations

import base64
import io
import wave

from harness.media.load import Audio
from harness.media.sounds import FULL_SCALE


def sound_url(sound: Audio) -> str:
    """``data:audio/wav;base64,...`` with 16 bits a sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(sound.rate)
        wav.writeframes(
            (sound.samples * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype("<i2").tobytes()
        )
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
