"""Faults that must be found at the stage of this module's name."""

from __future__ import annotations

from harness.selfcheck.fault import Fault

FAULTS: tuple[Fault, ...] = ()
