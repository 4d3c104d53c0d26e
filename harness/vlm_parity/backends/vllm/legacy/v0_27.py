"""vLLM 0.27, whose models take pixels as the processor made them; all else is as in later releases."""

from __future__ import annotations

from typing import Any, ClassVar

from vlm_parity.backends.vllm.backend import VllmBackend
from vlm_parity.backends.vllm.input_norm import InputNormFinder


def reject_device_norm(_: Any) -> None:
    """There is nothing to normalise."""


class VllmWithoutNorm(VllmBackend):
    """As ``VllmBackend``."""

    normalises: ClassVar[InputNormFinder] = staticmethod(reject_device_norm)
