"""Setup of an engine: depth, device, dtype, mode and entry point.

Imports nothing heavy, because the pytest plug-in declares its options with these names in every session.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Device = Literal["cpu", "cuda"]
Dtype = Literal["float64", "float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
"""Dtypes of an engine under test; the reference can also run in float64."""

DEFAULT_MODE = "default"
"""One request at a time, its prompt in one chunk, without a prefix cache."""
BATCHED, CHUNKED_PREFILL, PREFIX_CACHED = "batched", "chunked_prefill", "prefix_cached"
BUILT_IN_MODES = (DEFAULT_MODE, BATCHED, CHUNKED_PREFILL, PREFIX_CACHED)
"""Modes of the built-in engines; a backend can have others."""


class Depth(StrEnum):
    """Extent of a trace."""

    TOKENS = "tokens"
    """The frontend of the engine only; needs no weights."""
    LOGITS = "logits"
    """The engine runs the model."""


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
