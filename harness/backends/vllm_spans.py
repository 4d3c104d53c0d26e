"""Where vLLM puts the media of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.case import Modality
from harness.trace import Span

_MODALITIES: dict[str, Modality] = {"image": "image", "video": "video", "audio": "audio"}


def spans_of(placeholders: Mapping[str, Any]) -> tuple[Span, ...]:
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
