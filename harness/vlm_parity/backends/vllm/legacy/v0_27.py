"""vLLM 0.27, whose models receive normalized pixels; otherwise like later releases."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.input_norm import InputNormFinder


def find_no_input_norm(config: Any) -> None:
    """Return None: the processor normalizes."""


class VllmWithoutNorm(VllmBackend):
    """vLLM whose models do not normalize on the device."""

    conditions = frozenset()
    find_input_norm: ClassVar[InputNormFinder] = staticmethod(find_no_input_norm)
