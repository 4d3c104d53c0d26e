"""Logits processor, run inside vLLM, that forces a request along a given continuation.

The module imports vLLM at the top, because only vLLM itself loads it, by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

if TYPE_CHECKING:
    import torch


class ForceContinuation(AdapterLogitsProcessor):  # type: ignore[misc]
    """Forces requests with ``parity_continuation``, a list of ids, in their ``extra_args``."""

    @classmethod
    def validate_params(cls, params: Any) -> None:
        continuation = (params.extra_args or {}).get("parity_continuation", [])
        if not all(isinstance(token, int) for token in continuation):
            raise ValueError("parity_continuation must be a list of ids")

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        continuation = (params.extra_args or {}).get("parity_continuation")
        return None if continuation is None else _ForcedContinuation(continuation)


class _ForcedContinuation:
    def __init__(self, continuation: list[int]) -> None:
        self._continuation = continuation

    def __call__(self, output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        token = self._continuation[len(output_ids)]
        logits.fill_(float("-inf"))
        logits[token] = 0
        return logits
