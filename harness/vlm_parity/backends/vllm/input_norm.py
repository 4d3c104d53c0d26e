"""How vLLM's models normalise bytes on their device: ``mm_input_norm``, since 0.31."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlm_parity.util.errors import PrivateApiChangedError

_MODULE = "vllm.model_executor.layers.fusion.mm_input_norm"


@dataclass(frozen=True)
class InputNorm:
    """What a model does to its pixels before its vision tower."""

    rows: Callable[[Any], Any]
    """Rows of pixels, each one channel behind the other, as float32 of the same shape."""
    bias: float
    """The largest absolute bias of ``pixel * weight + bias``."""


InputNormFinder = Callable[[Any], InputNorm | None]
"""From vLLM's ``VllmConfig``; None where the model is to take pixels as its processor made them."""


def find_mm_input_norm(config: Any) -> InputNorm | None:
    """vLLM's module, on the CPU; its ``forward_native`` is what its kernels are held against.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    try:
        import torch
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.layers.fusion.mm_input_norm import IdentityInputNorm, build_mm_input_norm
    except ImportError as problem:
        raise PrivateApiChangedError(f"vLLM has moved a name: {problem}") from problem
    with set_current_vllm_config(config):
        norm = build_mm_input_norm(config.model_config)
    if isinstance(norm, IdentityInputNorm):
        return None
    for name in ("forward_native", "bias"):
        if not hasattr(norm, name):
            raise PrivateApiChangedError(f"{_MODULE}: {type(norm).__name__} has no {name}")
    return InputNorm(lambda rows: norm.forward_native(rows, torch.float32), float(norm.bias.abs().max()))
