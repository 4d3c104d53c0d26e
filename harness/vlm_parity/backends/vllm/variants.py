"""The variants in which vLLM is run: what it is told for each, and how to see that it did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.variants import (
    BATCHED,
    CACHED,
    CHUNK,
    CHUNKED,
    Step,
    from_the_cache,
    in_a_batch,
    in_pieces,
)
from vlm_parity.schema.trace import ALONE, SERVED

VARIANTS = {
    BATCHED: "in one batch with a request with a picture, which is decoding already, and one of text",
    CHUNKED: f"chunked prefill, {CHUNK} positions a step, so that media are split",
    CACHED: "asked twice; the second request reads the prompt's blocks from the prefix cache",
    SERVED: "vllm serve, asked over HTTP with the openai client",
}
_BLOCK = 32  # positions; vLLM's CPU attention takes multiples of it, and short prompts are to fill some


def engine_arguments(variant: str, max_length: int) -> dict[str, Any]:
    """What vLLM is told so that it runs this variant of prompts up to ``max_length``."""
    in_one_piece = {"max_num_batched_tokens": max_length}
    arguments: Mapping[str, dict[str, Any]] = {
        ALONE: in_one_piece,
        BATCHED: {"max_num_batched_tokens": 2 * max_length},  # so that the others' prompts fit in beside it
        CHUNKED: {"max_num_batched_tokens": CHUNK, "enable_chunked_prefill": True},
        SERVED: {**in_one_piece, "enable_prefix_caching": False},
        CACHED: {**in_one_piece, "enable_prefix_caching": True, "block_size": _BLOCK},
    }
    return arguments[variant]


def how_it_ran(variant: str, inputs: Inputs, steps: Sequence[Step], arguments: Mapping[str, Any]) -> str:
    """How the request was run, in a sentence; empty for ``alone``.

    Raises:
        ModeNotApplicableError: this prompt cannot be run so.
        RuntimeError: it can, but vLLM did not.
    """
    if variant == BATCHED:
        return in_a_batch([step.requests for step in steps])
    if variant == CHUNKED:
        return in_pieces(inputs, steps)
    if variant == CACHED:
        return from_the_cache(inputs, steps[0].first, arguments["block_size"])
    return ""
