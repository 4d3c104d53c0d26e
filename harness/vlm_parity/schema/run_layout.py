"""Names of the files in a run folder."""

from __future__ import annotations

from pathlib import Path

from vlm_parity.schema.verdict import Verdict

REFERENCE_FOLDER = "reference"
"""Stands for a backend in the folders of traces: one may test transformers against itself."""


def get_verdict_path(part: Path, verdict: Verdict) -> Path:
    """Where a verdict lies in a part's folder."""
    return part / "verdicts" / verdict.model / verdict.label / f"{verdict.case}.json"
