"""One engine at a time on a GPU, across all sessions and workers on the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vlm_parity.schema.engine_setup import Device
from vlm_parity.schema.record import compute_digest
from vlm_parity.util.file_lock import acquire_lock, share_lock

_FILE_NAME = re.compile(r"[\w.-]{1,100}")
"""An index or an id."""


@contextmanager
def acquire_device_lock(device: Device) -> Iterator[None]:
    """Wait until no other process uses one of the GPUs visible to this one; a CPU needs no lock.

    A GPU that two sessions name differently, by its index and by its id, counts as two.
    """
    if device == "cpu":
        yield
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as locks:
        if visible is None:  # every GPU
            locks.enter_context(acquire_lock(device))
        else:
            locks.enter_context(share_lock(device))
            for name in sorted(
                {name.strip() for name in visible.split(",")}
            ):  # in one order, so that no two wait for each other
                locks.enter_context(acquire_lock(f"{device}-{_get_file_name(name)}"))
        yield


def _get_file_name(name: str) -> str:
    return name if _FILE_NAME.fullmatch(name) else compute_digest(name)
