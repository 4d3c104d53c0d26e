"""One message of a conversation in the chat format that transformers and the engines share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vlm_parity.schema.case import AudioPart, ImagePart, Message, TextPart, VideoPart


def build_message(
    message: Message,
    build_medium_part: Callable[[ImagePart | VideoPart | AudioPart], dict[str, Any]],
    *,
    texts_as_parts: bool = False,
) -> dict[str, Any]:
    """Return a message as it was written: a string stays a string, null stays null.

    Args:
        message: the case's message.
        build_medium_part: is called for each medium, in order.
        texts_as_parts: whether a string becomes a list of one text part.
    """
    if not message.has_content:
        return message.envelope
    if message.content is None or (isinstance(message.content, str) and not texts_as_parts):
        return {**message.envelope, "content": message.content}
    content = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else build_medium_part(part)
        for part in message.parts
    ]
    return {**message.envelope, "content": content}
