"""The modes in which LMDeploy is run: what it is told for each, and how to see that it did it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.modes import (
    BATCHED,
    CHUNK,
    CHUNKED_PREFILL,
    PREFIX_CACHED,
    check_batched,
    describe_cache_use,
    describe_chunks,
)
from vlm_parity.backends.lmdeploy.prompt_recorder import RecordedPrompt
from vlm_parity.util.errors import UnsupportedError

MODES = {
    BATCHED: "in one batch with a request with a picture, which is decoding already, and one of text",
    CHUNKED_PREFILL: f"the prompt in pieces of {CHUNK} positions, or of as many as its largest medium has",
    PREFIX_CACHED: "asked twice; the second request reads the prompt's blocks from the prefix cache",
}
_BLOCK = 16  # positions; the smallest that LMDeploy takes, so that blocks end behind most media
_PREFILL_TOKENS = 8192  # the longest prompt that LMDeploy by default computes in one go
_REFUSED_CACHE = (
    "Prefix caching is disabled for this VL model path. Supported: TurboMind native-vision models and "
    "PyTorch new-preprocess multimodal inputs."
)


def engine_arguments(mode: str, length: int) -> dict[str, Any]:
    """What LMDeploy is told so that it runs this mode of sequences up to ``length``."""
    default = {
        # In float32 the prompt's logits of a prompt in chunks kill the engine.
        "max_prefill_token_num": max(length, _PREFILL_TOKENS),
        "max_batch_size": 1,
        "enable_prefix_caching": False,
    }
    arguments: Mapping[str, dict[str, Any]] = {
        BATCHED: {"max_batch_size": 4},
        CHUNKED_PREFILL: {"max_prefill_token_num": CHUNK},
        PREFIX_CACHED: {"enable_prefix_caching": True, "block_size": _BLOCK},
    }
    return default | arguments.get(mode, {})


def check_mode(mode: str, engine: Any) -> None:
    """Raises ``UnsupportedError`` where the ``async_engine`` of a pipeline has turned off what was asked for."""
    if mode == PREFIX_CACHED and not engine.backend_config.enable_prefix_caching:
        raise UnsupportedError(_REFUSED_CACHE)


def how_it_ran(
    mode: str, inputs: Inputs, prompt: RecordedPrompt, decoded: int, arguments: Mapping[str, Any]
) -> str:
    """How a request was run, in a sentence.

    Args:
        mode: one of ``MODES``.
        inputs: what was asked.
        prompt: how its prompt was run.
        decoded: how many steps of decoding it took.
        arguments: what the engine was told.

    Raises:
        ModeNotApplicableError: this prompt cannot be run so.
        RuntimeError: it can, but LMDeploy did not.
    """
    if mode == BATCHED:
        prefills = ", ".join(str(step.requests) for step in prompt.steps)
        return f"{prefills} in the prompt's step; {check_batched(prompt.batches[:decoded])}"
    if mode == CHUNKED_PREFILL:
        return describe_chunks(inputs, prompt.steps, splits_media=False)
    return describe_cache_use(inputs, prompt.cached_tokens, arguments["block_size"], splits_media=False)
