"""Distributions of third parties, as their files."""

from __future__ import annotations

from pathlib import Path


def write_backend_distribution(site: Path, name: str, file: Path, target: str) -> None:
    """Write a distribution with the entry point of a backend.

    Args:
        site: the folder to write to; it has to be on the path.
        name: of the backend and the distribution.
        file: the module of the backend.
        target: ``module:Class``.
    """
    (site / f"{target.partition(':')[0]}.py").write_bytes(file.read_bytes())
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vlm_parity.backends]\n{name} = {target}\n")
