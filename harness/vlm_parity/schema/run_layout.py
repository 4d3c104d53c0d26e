"""Names of the files in a run folder."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.schema.verdict import Verdict

REFERENCE_FOLDER = "reference"
"""Replaces the name of the backend in the path of a reference trace: transformers may also be tested."""


def get_verdict_path(shard_folder: Path, verdict: Verdict) -> Path:
    """Return the path of a verdict in the folder of a shard."""
    return shard_folder / "verdicts" / verdict.model / verdict.label / f"{verdict.case}.json"
