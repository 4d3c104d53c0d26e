"""Synthetic audio."""

from __future__ import annotations

import numpy as np

from vlm_parity.schema.media_source import AudioRecipe

AMPLITUDE = 0.5
"""Amplitude of the waveform; full scale is 1."""
TONE = 440.0
"""Frequency in hertz."""
SWEEP = (200.0, 4000.0)
"""Frequencies at the start and at the end, in hertz."""
FULL_SCALE = 2**15
"""Full scale of 16-bit audio."""
NOISE_AMPLITUDE = 0.01
"""Amplitude of the noise added to every waveform, so that no two moments are the same; full scale is 1."""


def draw_audio(recipe: AudioRecipe) -> np.ndarray:
    """Draw the samples of a recipe: float32 [samples], one channel, from -1 to 1.

    They are multiples of 2^-15, which 16 bits represent exactly. ``tone`` is 440 Hz, ``sweep`` rises from 200
    to 4000 Hz, ``noise`` is white.
    """
    count = max(1, round(recipe.seconds * recipe.rate))
    noise = np.random.RandomState(recipe.seed).uniform(-1, 1, count)
    if recipe.waveform == "noise":
        noise *= AMPLITUDE
        return _round_to_int16(noise)
    start, stop = (TONE, TONE) if recipe.waveform == "tone" else SWEEP
    samples = np.linspace(start, stop, count)
    np.cumsum(samples, out=samples)  # in place from here on: ten minutes take 230 MB
    samples /= recipe.rate
    samples *= 2 * np.pi
    np.sin(samples, out=samples)
    samples *= AMPLITUDE
    noise *= NOISE_AMPLITUDE
    samples += noise
    return _round_to_int16(samples)


def _round_to_int16(samples: np.ndarray) -> np.ndarray:
    samples *= FULL_SCALE
    np.round(samples, out=samples)
    samples /= FULL_SCALE
    return samples.astype(np.float32)
