"""Normalization of pixels on the device by vLLM's models: ``mm_input_norm``, since 0.31."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlm_parity.util.errors import PrivateApiChangedError

_MODULE = "vllm.model_executor.layers.fusion.mm_input_norm"


@dataclass(frozen=True)
class InputNorm:
    """The normalization of pixels between processor and vision tower."""

    normalize_rows: Callable[[Any], Any]
    """Maps rows of pixels, in each row one channel after the other, to float32 of the same shape."""
    bias: float
    """Largest absolute bias of ``pixel * weight + bias``."""


InputNormFinder = Callable[[Any], InputNorm | None]
"""Maps vLLM's ``VllmConfig`` to the normalization; None if the processor normalizes."""


def find_mm_input_norm(config: Any) -> InputNorm | None:
    """Return vLLM's own module, on the CPU; its ``forward_native`` is the reference for its kernels.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    try:
        import torch
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.layers.fusion.mm_input_norm import IdentityInputNorm, build_mm_input_norm
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    with set_current_vllm_config(config):
        norm = build_mm_input_norm(config.model_config)
    if isinstance(norm, IdentityInputNorm):
        return None
    for name in ("forward_native", "bias"):
        if not hasattr(norm, name):
            raise PrivateApiChangedError(f"{_MODULE}: {type(norm).__name__} has no {name}")
    return InputNorm(lambda rows: norm.forward_native(rows, torch.float32), float(norm.bias.abs().max()))
