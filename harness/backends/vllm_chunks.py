"""Media of models for which vLLM knows one modality only, ``vision_chunk``: Kimi's.

A picture is one chunk, a video one or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.case import Modality

_UNIFIED = "vision_chunk"
_BY_MODALITY = ("mm_placeholders", "mm_kwargs")


def told_apart(rendered: Mapping[str, Any], media: Sequence[Modality]) -> dict[str, Any]:
    """What vLLM's renderer made of a case, with chunks under the modality of their medium.

    Args:
        rendered: what the renderer made of it.
        media: the modality of each medium, in the order of the conversation.

    Raises:
        ValueError: there are more or fewer chunks than media.
    """
    found = {name: dict(rendered.get(name) or {}) for name in _BY_MODALITY}
    for name, by_modality in found.items():
        chunks = by_modality.pop(_UNIFIED, ())
        if not chunks:
            continue
        if len(chunks) != len(media):
            raise ValueError(f"vLLM made {len(chunks)} chunks ({name}) of {len(media)} media")
        for modality, chunk in zip(media, chunks, strict=True):
            by_modality.setdefault(modality, []).append(chunk)
    return {**rendered, **found}
