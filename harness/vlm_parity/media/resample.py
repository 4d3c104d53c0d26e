"""Sounds at the rate that a model was trained with."""

from __future__ import annotations

import numpy as np

from vlm_parity.media.load import DecodedAudio


def resample_audio(sound: DecodedAudio, rate: int) -> np.ndarray:
    """float32 [samples] at another rate, as ``librosa.load`` makes them, with which transformers
    (``audio_utils.load_audio``) and the models' documentation read sounds: by soxr, quality HQ.
    """
    if sound.rate == rate:
        return sound.samples
    import soxr

    samples: np.ndarray = soxr.resample(sound.samples, sound.rate, rate, quality="HQ")
    return samples
