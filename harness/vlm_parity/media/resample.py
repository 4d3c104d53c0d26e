"""Resampling of audio to the rate of a model."""

from __future__ import annotations

import numpy as np

from vlm_parity.media.load import DecodedAudio


def resample_audio(audio: DecodedAudio, rate: int) -> np.ndarray:
    """Resample audio to float32 [samples] with soxr and quality HQ, like ``librosa.load``.

    transformers (``audio_utils.load_audio``) and the documentation of the models load audio with it.

    Args:
        audio: any rate.
        rate: samples a second of the result.
    """
    if audio.rate == rate:
        return audio.samples
    import soxr

    samples: np.ndarray = soxr.resample(audio.samples, audio.rate, rate, quality="HQ")
    return samples
