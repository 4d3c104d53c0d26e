"""A trace together with its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlm_parity.schema.repetition import Attempt
from vlm_parity.schema.trace import Trace


@dataclass(frozen=True)
class StoredTrace:
    """The trace of one case and the folder that holds its arrays."""

    trace: Trace
    folder: Path
    attempts: tuple[Attempt, ...] = ()
    """Failed attempts at the case, before this trace."""
