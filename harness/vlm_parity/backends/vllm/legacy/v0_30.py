"""vLLM 0.28 to 0.30, whose models normalize with ``FusedInputNorm``; otherwise like later releases."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.input_norm import InputNorm, InputNormFinder
from vlm_parity.util.errors import PrivateApiChangedError

_NAMES = ("is_identity", "forward", "bias")


def find_fused_input_norm(config: Any) -> InputNorm | None:
    """Return vLLM's own module, on the CPU; None if the processor normalizes.

    Raises:
        PrivateApiChangedError: vLLM has moved a name.
    """
    try:
        import torch
        from vllm.model_executor.models.vision import FusedInputNorm
    except ImportError as error:
        raise PrivateApiChangedError(f"vLLM has moved a name: {error}") from error
    norm = FusedInputNorm.from_model_config(config.model_config)
    for name in _NAMES:
        if not hasattr(norm, name):
            raise PrivateApiChangedError(f"{type(norm).__module__}: {type(norm).__name__} has no {name}")
    if norm.is_identity:
        return None
    return InputNorm(lambda rows: norm(rows, torch.float32), float(norm.bias.abs().max()))


class VllmWithFusedNorm(VllmBackend):
    """vLLM whose models normalize with ``FusedInputNorm``."""

    conditions = frozenset()
    find_input_norm: ClassVar[InputNormFinder] = staticmethod(find_fused_input_norm)
