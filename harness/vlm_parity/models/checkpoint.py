"""Checkpoints: folders with configuration, tokenizer, processor and weights of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A model in the form that backends load: always a local folder."""

    name: str
    """Name in test ids: ``qwen2_vl``, a folder's name, or a hub id with ``--`` for ``/``."""
    family: str
    """A name of ``vlm_parity.models.registry.FAMILIES``, or the config's ``model_type`` if none matches."""
    path: Path
    source: str
    """``synthetic``, a folder's name, or ``hub id@revision``."""
    digest: str
    """Hash that changes whenever the outputs could; it covers the contents of the files."""
    trust_remote_code: bool = False
    content: str = ""
    """Stamp of the files by ``vlm_parity.models.content``; empty if they are not checked again."""
