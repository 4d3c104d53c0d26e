"""Changes to OpenAI-style messages, as engines have made them by mistake."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]
SYSTEM_PROMPT = "You are a helpful assistant."


def drop_later_texts(messages: Messages) -> Messages:
    """Keep only the first text part of each message, as LMDeploy did up to 0.10.2."""
    return [{**message, "content": _take_first_text(message["content"])} for message in messages]


def move_media_first(messages: Messages) -> Messages:
    """Move the media of each message before its texts."""
    return [{**message, "content": _move_media_first(message["content"])} for message in messages]


def add_system_prompt(messages: Messages) -> Messages:
    """Add a system turn to a conversation that has none."""
    if messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": SYSTEM_PROMPT}, *messages]


def _take_first_text(content: Any) -> Any:
    if isinstance(content, str):
        return content
    texts = [part for part in content if part["type"] == "text"]
    return [part for part in content if part["type"] != "text" or part is texts[0]]


def _move_media_first(content: Any) -> Any:
    return content if isinstance(content, str) else sorted(content, key=lambda part: part["type"] == "text")
