"""Writing of ``.safetensors`` files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace ``path`` by a file of ``arrays`` in one step, creating its folder first.

    A reader sees the old file or the new one, never half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, draft)
    draft.replace(path)
