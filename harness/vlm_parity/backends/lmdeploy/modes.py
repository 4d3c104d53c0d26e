"""LMDeploy's modes: the engine arguments of each, and the evidence that it took effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_parity.backends.base import Inputs
from vlm_parity.backends.common.modes import CHUNK, check_batched, describe_cache_use, describe_chunks
from vlm_parity.backends.lmdeploy.prompt_recorder import RecordedPrompt
from vlm_parity.schema.engine_setup import BATCHED, CHUNKED_PREFILL, PREFIX_CACHED
from vlm_parity.util.errors import UnsupportedError

MODES = {
    BATCHED: "in one batch with a request with an image, which is already decoding, and one of text",
    CHUNKED_PREFILL: f"the prompt in pieces of {CHUNK} positions, or of as many as its largest medium has",
    PREFIX_CACHED: (
        "sent twice, after the same conversation with other media; the second request reads the prompt's "
        "blocks from the prefix cache"
    ),
}
_BLOCK = 16  # positions; the smallest that LMDeploy accepts, so that a block ends after most media
_PREFILL_TOKENS = 8192  # positions; the longest prompt that LMDeploy does not split by default
_REFUSED_CACHE = (
    "Prefix caching is disabled for this VL model path. Supported: TurboMind native-vision models and "
    "PyTorch new-preprocess multimodal inputs."
)


def get_engine_args(mode: str, length: int) -> dict[str, Any]:
    """Return the engine arguments of a mode, for sequences of up to ``length`` positions."""
    default = {
        # The engine crashes if it has to return the logits of a split prompt in float32.
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
    """Check that the engine has not switched off the mode.

    Args:
        mode: one of ``MODES``, or ``default``.
        engine: the ``async_engine`` of a pipeline.

    Raises:
        UnsupportedError: it has.
    """
    if mode == PREFIX_CACHED and not engine.backend_config.enable_prefix_caching:
        raise UnsupportedError(_REFUSED_CACHE)


def describe_run(
    mode: str, inputs: Inputs, prompt: RecordedPrompt, decode_steps: int, arguments: Mapping[str, Any]
) -> str:
    """Return the evidence that a mode took effect, in a sentence.

    Args:
        mode: one of ``MODES``.
        inputs: of the request.
        prompt: its recorded prompt.
        decode_steps: number of its decoding steps.
        arguments: the engine's arguments.

    Raises:
        ModeNotApplicableError: the mode has no effect on this prompt.
        EngineError: it should have had one.
    """
    if mode == BATCHED:
        prefills = ", ".join(str(step.requests) for step in prompt.steps)
        return f"{prefills} in the prompt's step; {check_batched(prompt.batches[:decode_steps])}"
    if mode == CHUNKED_PREFILL:
        return describe_chunks(inputs, prompt.steps, splits_media=False)
    return describe_cache_use(inputs, prompt.cached_tokens, arguments["block_size"], splits_media=False)
