"""All faults and all clean controls; a new one is an entry in one of the modules listed here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.backends.base import Backend
from harness.selfcheck import answers, ids, media, positions, text, vision
from harness.selfcheck.controls import CONTROLS
from harness.selfcheck.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *text.FAULTS,
    *ids.FAULTS,
    *media.FAULTS,
    *positions.FAULTS,
    *vision.FAULTS,
    *answers.FAULTS,
)
"""In the order of the stages."""


@contextmanager
def planted(backend: Backend, name: str) -> Iterator[None]:
    """Has the engine behind a loaded backend run with a fault, or under a clean control.

    Raises:
        KeyError: there is no such fault for this backend.
    """
    planters: dict[str, Any] = {fault.name: fault.planters for fault in FAULTS}
    planters |= {control.name: control.planters for control in CONTROLS}
    with planters[name][backend.name](backend):
        yield
