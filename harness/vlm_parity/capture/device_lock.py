"""One engine at a time on a GPU, across all sessions and workers on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from vlm_parity.schema.engine_setup import Device
from vlm_parity.util.file_lock import acquire_lock


@contextmanager
def acquire_device_lock(device: Device) -> Iterator[None]:
    """Wait until no other process uses the GPUs visible to this one; a CPU needs no lock."""
    if device == "cpu":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    with acquire_lock(f"{device}-{visible}"):
        yield
