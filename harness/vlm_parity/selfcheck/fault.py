"""Faults to inject, each with the stage and the cause that the harness has to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from vlm_parity.schema.engine_setup import DEFAULT_MODE, Depth
from vlm_parity.schema.trace import Stage

FaultInjector = Callable[[Any], AbstractContextManager[None]]
"""Accepts a loaded backend; its context manager changes the engine and restores it on exit. If the engine no
longer has the patched name, it raises ``AttributeError`` or ``PrivateApiChangedError``."""


def combine_injectors(*injectors: FaultInjector) -> FaultInjector:
    """Return an injector of several faults at once."""

    @contextmanager
    def inject(backend: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for injector in injectors:
                stack.enter_context(injector(backend))
            yield

    return inject


@dataclass(frozen=True)
class Fault:
    """A realistic bug, injected at run time into a loaded engine."""

    name: str
    """The bug in a few words: ``attention scale off by 5 %``."""
    stage: Stage
    """The expected first differing stage."""
    cause: str
    """The cause in ``vlm_parity.diagnosis.registry`` that names this bug; a general one if no rule can."""
    injectors: Mapping[str, FaultInjector]
    """The injector of each backend that can have the fault."""
    models: tuple[str, ...]
    """The families on which it has to be visible in float32."""
    cases: tuple[str, ...]
    """The cases on which it has to be visible in float32."""
    mode: str = DEFAULT_MODE
    """The mode in which the engine runs."""
    models_behind: tuple[str, ...] = ()
    """Further families on which it has to be visible, behind a difference that an engine has without it."""
    shows_behind: bool = True
    """False if only its own cases show it, so that it is not injected behind a difference."""
    behind: Stage | None = None
    """The first differing stage, if the injectors cause an earlier difference, too; the fault has to be found
    behind that on the engine's own values."""

    @property
    def needs_engine(self) -> bool:
        """True if the fault shows only when the engine runs; both engines compute positions then."""
        return self.stage.depth is Depth.LOGITS or self.stage is Stage.POSITIONS


@dataclass(frozen=True)
class NoOpControl:
    """A way to run the engine that must not change any verdict."""

    name: str
    """The control in a few words."""
    injectors: Mapping[str, FaultInjector]
    """The context manager of each backend."""
