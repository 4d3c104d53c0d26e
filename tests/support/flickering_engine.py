"""A released engine with a fault in every second run of its model, as a race would have it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from vlm_parity.backends.base import Inputs, Outputs
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.selfcheck.registry import FAULTS

ENGINE = next((name for name in ("vllm", "lmdeploy") if find_spec(name)), "")
FAULT = "vision features scaled by 1.05"
_Engine: Any = load_backend_class(ENGINE)


class FlickeringEngine(_Engine):  # type: ignore[misc]
    """The engine that is installed here; its first run has the fault, the second has not, and so on."""

    name = "flickering"
    runs = 0

    def outputs(self, inputs: Inputs, continuation: tuple[int, ...] | None, new_tokens: int) -> Outputs:
        self.runs += 1
        if self.runs % 2 == 0:
            return super().outputs(inputs, continuation, new_tokens)  # type: ignore[no-any-return]
        (fault,) = (each for each in FAULTS if each.name == FAULT)
        with fault.injectors[ENGINE](self):
            return super().outputs(inputs, continuation, new_tokens)  # type: ignore[no-any-return]
