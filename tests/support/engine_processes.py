"""A test process that runs engines itself, as a session's children do."""

from __future__ import annotations

import gc
import os

from vlm_parity.capture.process import SINGLE_THREADED

_NEW_OBJECTS = 100_000
"""A load creates millions of objects that stay, and each collection visits them."""


def spare_the_cpu() -> None:
    """Use one OpenMP thread unless the user chose a number, and collect garbage less often.

    Call it before torch is imported.
    """
    for name, value in SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    gc.set_threshold(_NEW_OBJECTS)
