"""vLLM's modes: the engine arguments of each, and the evidence that it took effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.modes import (
    CHUNK,
    EngineStep,
    check_batched,
    describe_cache_use,
    describe_chunks,
)
from vlm_parity.schema.engine_setup import BATCHED, CHUNKED_PREFILL, DEFAULT_MODE, PREFIX_CACHED

MODES = {
    BATCHED: "in one batch with a request with an image, which is already decoding, and one of text",
    CHUNKED_PREFILL: f"chunked prefill, {CHUNK} positions per step, so that media are split",
    PREFIX_CACHED: (
        "sent twice, after the same conversation with other media; the second request reads the prompt's "
        "blocks from the prefix cache"
    ),
}
_BLOCK = 32  # positions; vLLM's CPU attention needs multiples of it, and short prompts should fill some


def get_engine_args(mode: str, max_length: int) -> dict[str, Any]:
    """Return the engine arguments of a mode, for sequences of up to ``max_length`` positions."""
    unsplit = {"max_num_batched_tokens": max_length}
    arguments: Mapping[str, dict[str, Any]] = {
        DEFAULT_MODE: unsplit,
        BATCHED: {"max_num_batched_tokens": 2 * max_length},  # so that the companions' prompts fit in too
        CHUNKED_PREFILL: {"max_num_batched_tokens": CHUNK, "enable_chunked_prefill": True},
        PREFIX_CACHED: {**unsplit, "enable_prefix_caching": True, "block_size": _BLOCK},
    }
    return arguments[mode]


def describe_run(mode: str, inputs: Inputs, steps: Sequence[EngineStep], arguments: Mapping[str, Any]) -> str:
    """Return the evidence that a mode took effect, in a sentence; empty for the default mode.

    Args:
        mode: one of ``MODES``, or ``default``.
        inputs: of the request.
        steps: its recorded steps, in order.
        arguments: the engine's arguments.

    Raises:
        ModeNotApplicableError: the mode has no effect on this prompt.
        EngineError: it should have had one.
    """
    if mode == BATCHED:
        return check_batched([step.requests for step in steps])
    if mode == CHUNKED_PREFILL:
        return describe_chunks(inputs, steps)
    if mode == PREFIX_CACHED:
        return describe_cache_use(inputs, steps[0].first, arguments["block_size"])
    return ""
