"""The largest medium that an engine reserves for: which it is, only the engine can say.

A case holds it by the words ``max_size: true``. The engine is asked first (``Backend.largest``); what it names
is put into the case, and from then on that is a case like any other.
"""

from __future__ import annotations

from vlm_parity.schema.case import AudioPart, Case, ContentPart, ImagePart, MediaPart, TextPart, VideoPart
from vlm_parity.schema.media_source import AudioRecipe, ImageRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget

MAX_KEPT_VALUES = 64 * 2**20
"""Bytes: values of a largest medium beyond that are not kept, for a video takes a gigabyte on each side."""


def replace_max_media(case: Case, reserved: EncoderBudget) -> Case:
    """The case with the medium that the engine named in the place of its largest one."""
    messages = []
    for message in case.messages:
        parts = tuple(part if isinstance(part, TextPart) else _build_part(reserved) for part in message.parts)
        messages.append(message.model_copy(update={"content": parts}))
    return case.model_copy(update={"messages": tuple(messages)})


def _build_part(reserved: EncoderBudget) -> ContentPart:
    medium = reserved.medium
    made: MediaPart
    if isinstance(medium, ImageRecipe):
        made = ImagePart(image=medium)
    elif isinstance(medium, VideoRecipe):
        made = VideoPart(video=medium)
    else:
        made = AudioPart(audio=medium)
    return made


def describe_medium(medium: ImageRecipe | VideoRecipe | AudioRecipe) -> str:
    """Its size in words: ``3584 x 3584``, ``4 frames of 3584 x 3584``, ``30 s``."""
    if isinstance(medium, AudioRecipe):
        return f"{medium.seconds:g} s at {medium.rate} Hz"
    size = " x ".join(map(str, medium.size))
    if isinstance(medium, ImageRecipe):
        return size
    return f"{medium.frames} frame{'s' if medium.frames > 1 else ''} of {size}"
