"""One engine at a time on a GPU, across all sessions and workers on the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from vlm_parity.schema.engine_setup import Device
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.file_lock import acquire_lock

_FILE_NAME = re.compile(r"[\w,.-]{1,100}")
"""A list of indexes or of a few ids. The ids of the parts of a GPU are longer, and their number is free."""


@contextmanager
def acquire_device_lock(device: Device) -> Iterator[None]:
    """Wait until no other process uses the GPUs visible to this one; a CPU needs no lock."""
    if device == "cpu":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    if _FILE_NAME.fullmatch(visible) is None:
        visible = compute_digest(visible)
    with acquire_lock(f"{device}-{visible}"):
        yield
