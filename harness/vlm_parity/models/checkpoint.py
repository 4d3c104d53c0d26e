"""A checkpoint: the folder with a model's configuration, tokenizer, processor and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A model as the backends get it: always a local folder."""

    name: str
    """As it stands in test ids: ``qwen2_vl``, a folder's name, or a hub id with ``/`` as ``--``."""
    family: str
    """A name of ``vlm_parity.models.registry.FAMILIES``, or the config's ``model_type`` where none fits."""
    path: Path
    source: str
    """``synthetic``, a folder's name, or ``hub id@revision``."""
    digest: str
    """Changes whenever the answers could."""
    trust_remote_code: bool = False
