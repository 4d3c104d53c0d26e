"""The largest medium that an engine reserves space for; only the engine knows it.

A case refers to it as ``max_size: true``. The engine reports its medium first
(``Backend.measure_encoder_budget``); with that medium inserted, the case is like any other.
"""

from __future__ import annotations

from vlm_parity.schema.case import AudioPart, Case, ImagePart, MediaPart, TextPart, VideoPart
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget

MAX_KEPT_VALUES = 64 * 2**20
"""Bytes: larger arrays of a ``max_size`` medium are not stored, since a video takes a gigabyte on each
side."""


def replace_max_media(case: Case, budget: EncoderBudget) -> Case:
    """Replace the ``max_size`` medium of a case by the medium that the engine reported."""
    messages = []
    for message in case.messages:
        parts = tuple(part if isinstance(part, TextPart) else _build_part(budget) for part in message.parts)
        messages.append(message.model_copy(update={"content": parts}))
    return case.model_copy(update={"messages": tuple(messages)})


def _build_part(budget: EncoderBudget) -> MediaPart:
    medium = budget.medium
    if isinstance(medium, ImageRecipe):
        return ImagePart(image=medium)
    if isinstance(medium, VideoRecipe):
        return VideoPart(video=medium)
    return AudioPart(audio=medium)


def describe_medium(medium: ImageRecipe | VideoRecipe | AudioRecipe) -> str:
    """Describe the size of a medium: ``3584 x 3584``, ``4 frames of 3584 x 3584``, ``30 s at 16000 Hz``."""
    if isinstance(medium, AudioRecipe):
        return f"{medium.seconds:g} s at {medium.rate} Hz"
    size = " x ".join(map(str, medium.size))
    if isinstance(medium, ImageRecipe):
        return size
    return f"{medium.frames} frame{'s' if medium.frames > 1 else ''} of {size}"
