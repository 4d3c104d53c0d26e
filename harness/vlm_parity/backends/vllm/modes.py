"""The modes in which vLLM is run: what it is told for each, and how to see that it did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.modes import (
    BATCHED,
    CHUNK,
    CHUNKED_PREFILL,
    PREFIX_CACHED,
    EngineStep,
    check_batched,
    describe_cache_use,
    describe_chunks,
)
from vlm_parity.schema.engine_setup import DEFAULT_MODE

MODES = {
    BATCHED: "in one batch with a request with a picture, which is decoding already, and one of text",
    CHUNKED_PREFILL: f"chunked prefill, {CHUNK} positions a step, so that media are split",
    PREFIX_CACHED: "asked twice; the second request reads the prompt's blocks from the prefix cache",
}
_BLOCK = 32  # positions; vLLM's CPU attention takes multiples of it, and short prompts are to fill some


def engine_arguments(mode: str, max_length: int) -> dict[str, Any]:
    """What vLLM is told so that it runs this mode of prompts up to ``max_length``."""
    in_one_piece = {"max_num_batched_tokens": max_length}
    arguments: Mapping[str, dict[str, Any]] = {
        DEFAULT_MODE: in_one_piece,
        BATCHED: {"max_num_batched_tokens": 2 * max_length},  # so that the others' prompts fit in beside it
        CHUNKED_PREFILL: {"max_num_batched_tokens": CHUNK, "enable_chunked_prefill": True},
        PREFIX_CACHED: {**in_one_piece, "enable_prefix_caching": True, "block_size": _BLOCK},
    }
    return arguments[mode]


def how_it_ran(mode: str, inputs: Inputs, steps: Sequence[EngineStep], arguments: Mapping[str, Any]) -> str:
    """How the request was run, in a sentence; empty for the default mode.

    Raises:
        ModeNotApplicableError: this prompt cannot be run so.
        RuntimeError: it can, but vLLM did not.
    """
    if mode == BATCHED:
        return check_batched([step.requests for step in steps])
    if mode == CHUNKED_PREFILL:
        return describe_chunks(inputs, steps)
    if mode == PREFIX_CACHED:
        return describe_cache_use(inputs, steps[0].first, arguments["block_size"])
    return ""
