"""Where vLLM puts the media of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_MODALITIES: dict[str, Modality] = {"image": "image", "video": "video", "audio": "audio"}


def spans_from_placeholders(placeholders: Mapping[str, Any]) -> tuple[Span, ...]:
    """The spans of a prompt, in its order.

    Args:
        placeholders: vLLM's ``PlaceholderRange`` of every medium, by modality.
    """
    spans = []
    for name, ranges in placeholders.items():
        for item, found in enumerate(ranges):
            embeds = [True] * found.length if found.is_embed is None else found.is_embed.tolist()
            positions = (found.offset + index for index, embedded in enumerate(embeds) if embedded)
            spans.append(Span.of(_MODALITIES[name], item, positions))
    return tuple(sorted(spans, key=lambda span: span.offset))


_UNIFIED = "vision_chunk"
_BY_MODALITY = ("mm_placeholders", "mm_kwargs")


def chunks_by_modality(rendered: Mapping[str, Any], media: Sequence[Modality]) -> dict[str, Any]:
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
