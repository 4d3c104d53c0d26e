"""One engine at a time on a GPU, whatever number of sessions and workers there is on the machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vlm_parity.backends.base import Device
from vlm_parity.util.cache_dir import get_cache_root


@contextmanager
def acquire_device_lock(device: Device) -> Iterator[None]:
    """Waits until no other process holds the GPUs that this one sees; a CPU is shared freely."""
    if device == "cpu":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    path = get_cache_root() / "locks" / f"{device}-{visible}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed, or the process dies
        yield
