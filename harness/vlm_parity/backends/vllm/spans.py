"""Spans of the media in vLLM's rendered prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_parity.schema.case import Modality
from vlm_parity.schema.trace import Span

_MODALITIES: dict[str, Modality] = {"image": "image", "video": "video", "audio": "audio"}


def build_spans(placeholders: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the spans of a prompt, in order.

    Args:
        placeholders: vLLM's ``PlaceholderRange`` of every medium, by modality.
    """
    spans = []
    for name, ranges in placeholders.items():
        for item, placeholder in enumerate(ranges):
            is_embed = placeholder.is_embed
            embeds = [True] * placeholder.length if is_embed is None else is_embed.tolist()
            positions = (placeholder.offset + index for index, embedded in enumerate(embeds) if embedded)
            spans.append(Span.of(_MODALITIES[name], item, positions))
    return tuple(sorted(spans, key=lambda span: span.offset))


_UNIFIED = "vision_chunk"
_BY_MODALITY = ("mm_placeholders", "mm_kwargs")


def split_chunks_by_modality(rendered: Mapping[str, Any], media: Sequence[Modality]) -> dict[str, Any]:
    """Move the chunks of vLLM's modality ``vision_chunk`` to the modality of their medium.

    Args:
        rendered: a prompt rendered by vLLM.
        media: modality of each medium, in the order of the conversation.

    Raises:
        ValueError: the numbers of chunks and media differ.
    """
    split = {name: dict(rendered.get(name) or {}) for name in _BY_MODALITY}
    for name, by_modality in split.items():
        chunks = by_modality.pop(_UNIFIED, ())
        if not chunks:
            continue
        if len(chunks) != len(media):
            raise ValueError(f"vLLM returned {len(chunks)} chunks ({name}) for {len(media)} media")
        for modality, chunk in zip(media, chunks, strict=True):
            by_modality.setdefault(modality, []).append(chunk)
    return {**rendered, **split}
