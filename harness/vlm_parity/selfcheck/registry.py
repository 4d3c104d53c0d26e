"""All faults and clean controls; a new one is an entry in one of the modules imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vlm_parity.backends.base import Backend
from vlm_parity.capture.protocol import InjectedFault
from vlm_parity.selfcheck import faults_input_ids as ids
from vlm_parity.selfcheck import faults_logits as logits
from vlm_parity.selfcheck import faults_media as media
from vlm_parity.selfcheck import faults_positions as positions
from vlm_parity.selfcheck import faults_prompt as prompt
from vlm_parity.selfcheck import faults_vision as vision
from vlm_parity.selfcheck.controls import CLEAN_CONTROLS
from vlm_parity.selfcheck.fault import Fault, FaultInjector

FAULTS: tuple[Fault, ...] = (
    *prompt.FAULTS,
    *ids.FAULTS,
    *media.FAULTS,
    *positions.FAULTS,
    *vision.FAULTS,
    *logits.FAULTS,
)
"""In the order of the stages."""


def build_injected_fault(name: str) -> InjectedFault:
    """Return the reference to a fault, or to a clean control, that a capture request carries."""
    return InjectedFault(target=f"{__name__}:{inject_fault.__name__}", name=name)


@contextmanager
def inject_fault(backend: Backend, name: str) -> Iterator[None]:
    """Run the engine of a loaded backend with a fault, or under a clean control, until the block ends.

    Raises:
        KeyError: there is no such fault for this backend.
    """
    injectors: dict[str, Mapping[str, FaultInjector]] = {fault.name: fault.injectors for fault in FAULTS}
    injectors |= {control.name: control.injectors for control in CLEAN_CONTROLS}
    with injectors[name][backend.name](backend):
        yield
