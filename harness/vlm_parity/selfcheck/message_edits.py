"""What engines did to conversations: changes of OpenAI-style messages, the same for every engine."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]
SYSTEM_PROMPT = "You are a helpful assistant."


def drop_later_texts(messages: Messages) -> Messages:
    """Only the first text part of a message is read, as by LMDeploy up to 0.10.2."""
    return [{**message, "content": _take_first_text(message["content"])} for message in messages]


def move_media_first(messages: Messages) -> Messages:
    """All media of a message stand in front of its texts."""
    return [{**message, "content": _move_media_first(message["content"])} for message in messages]


def add_system_prompt(messages: Messages) -> Messages:
    """A conversation without a system turn is given one."""
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
