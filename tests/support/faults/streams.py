"""The standard streams of a forked process."""

from __future__ import annotations

import sys


def open_standard_streams() -> None:
    """Open the three streams again on their descriptors: those of the process before may be replaced."""
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = open(descriptor, "w" if descriptor else "r", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
