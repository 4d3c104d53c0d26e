"""Modes and entry points: how an engine runs, and the API that receives a case."""

from __future__ import annotations

from enum import StrEnum

DEFAULT_MODE = "default"
"""One request at a time, its prompt in one chunk, without a prefix cache."""


class EntryPoint(StrEnum):
    """The API of an engine that receives a case."""

    CHAT = "chat"
    """Messages, through the engine's own chat path."""
    TEXT = "text"
    """The rendered prompt as text, with decoded media."""
    TOKEN_IDS = "token_ids"  # noqa: S105 (no password)
    """The tokenized prompt, with decoded media."""
    SERVER = "server"
    """Messages over HTTP, to the engine's own OpenAI-compatible server."""

    @property
    def loads_own_engine(self) -> bool:
        """True if the entry point needs an engine of its own; the others share one."""
        return self is EntryPoint.SERVER


def is_selectable(mode: str, entry_point: EntryPoint) -> bool:
    """Return whether a mode and an entry point can be combined; only the default mode combines with all."""
    return mode == DEFAULT_MODE or entry_point is EntryPoint.CHAT


def engine_label(backend: str, mode: str, entry_point: EntryPoint) -> str:
    """Return the name of a backend in one setup: ``vllm``, ``vllm-chunked_prefill``, ``vllm-token_ids``."""
    suffixes = [mode] if mode != DEFAULT_MODE else []
    suffixes += [entry_point] if entry_point is not EntryPoint.CHAT else []
    return "-".join([backend, *suffixes])
