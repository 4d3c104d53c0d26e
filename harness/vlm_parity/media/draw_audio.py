"""Sounds made from numbers alone."""

from __future__ import annotations

import numpy as np

from vlm_parity.schema.media_source import AudioRecipe

AMPLITUDE = 0.5
"""Of 1."""
TONE = 440.0
"""Hertz."""
SWEEP = (200.0, 4000.0)
"""Hertz at the start and at the end."""
FULL_SCALE = 2**15
"""Of 16-bit sound."""
NOISE_AMPLITUDE = 0.01
"""Of 1: noise under every sound, so that no two moments are the same."""


def draw_audio(recipe: AudioRecipe) -> np.ndarray:
    """The samples of a recipe: float32 [samples], one channel, from -1 to 1, each a multiple of 2^-15,
    so that 16 bits hold them.

    ``tone`` is 440 Hz, ``sweep`` rises from 200 to 4000 Hz, ``noise`` is white.
    """
    count = max(1, round(recipe.seconds * recipe.rate))
    hiss = np.random.RandomState(recipe.seed).uniform(-1, 1, count)
    if recipe.waveform == "noise":
        return _round_to_int16(AMPLITUDE * hiss)
    start, stop = (TONE, TONE) if recipe.waveform == "tone" else SWEEP
    turns = np.cumsum(np.linspace(start, stop, count)) / recipe.rate
    return _round_to_int16(AMPLITUDE * np.sin(2 * np.pi * turns) + NOISE_AMPLITUDE * hiss)


def _round_to_int16(samples: np.ndarray) -> np.ndarray:
    return (np.round(samples * FULL_SCALE) / FULL_SCALE).astype(np.float32)
