"""What is planted: a fault, where it must be visible, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.trace import Depth, Stage

FaultInjector = Callable[[Any], AbstractContextManager[None]]
"""Takes a loaded backend, changes its engine, and puts everything back when it is left. A name of the
engine that is gone raises, by ``unittest.mock.patch.object`` or ``PrivateApiChangedError``."""


@dataclass(frozen=True)
class Fault:
    """A real kind of bug, planted at run time in an engine that is loaded already."""

    name: str
    """What is wrong with the engine, in a few words: ``attention scale off by 5 %``."""
    stage: Stage
    """The stage at which it must be found first."""
    cause: str
    """The cause that must be named: one of ``vlm_parity.diagnosis.registry``."""
    injectors: Mapping[str, FaultInjector]
    """By backend."""
    models: tuple[str, ...]
    """The families on which it must be visible in float32."""
    cases: tuple[str, ...]
    """The cases on which it must be visible in float32."""
    mode: str = DEFAULT_MODE
    """In which of the backend's ways the engine is run."""

    @property
    def needs_engine(self) -> bool:
        """Whether the engine has to run for it to be seen: LMDeploy and a loaded vLLM make their
        positions there.
        """
        return self.stage.depth is Depth.LOGITS or self.stage is Stage.POSITIONS


@dataclass(frozen=True)
class NoOpControl:
    """A way to run an engine that must change nothing."""

    name: str
    injectors: Mapping[str, FaultInjector]
