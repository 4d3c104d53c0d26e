"""Minimal checkpoint folders, and a commit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

WEIGHTS = save({"weight": np.zeros(2, np.float32)})
"""Content of a safetensors file."""
COMMIT = "0123456789abcdef" * 2 + "01234567"


def write_checkpoint(path: Path, **config: object) -> Path:
    """Write the files that a checkpoint must contain, with this ``config.json``."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(WEIGHTS)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (path / name).write_text("{}")
    return path
