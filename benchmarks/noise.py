"""How far transformers' ways to compute lie apart: what the limits in ``harness/vlm_parity/diff/noise_tolerance.py`` rest on.

    python benchmarks/noise.py

Reads the noise floors that earlier runs left in the cache of reference traces, sets the samples of one
attention against those of the other as if they were an engine's, and prints the largest ratios. Make
the floors first: ``pytest cases --backend vllm``, then the same with ``--dtype bfloat16``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vlm_parity.diff.noise_tolerance import (
    ROW_LIMIT,
    WORST_CLEAN_ROW,
    WORST_CLEAN_SEQUENCE,
    NoiseRatios,
    compute_noise_ratios,
    compute_sequence_limit,
)
from vlm_parity.schema.noise_floor import FLOORS, NoiseFloor, StageNoise, read_noise_floor
from vlm_parity.schema.trace import Stage, read_trace
from vlm_parity.util.cache_dir import get_cache_root
from vlm_parity.util.errors import RecordError

SMALLEST = 1e-12


def floors() -> Iterator[tuple[str, NoiseFloor]]:
    """Every floor in the cache, with the model and the case that it belongs to."""
    for folder in sorted((get_cache_root() / "reference").glob(f"*/{FLOORS}/*")):
        trace_folder: Path = folder.parent.parent
        try:
            trace, floor = read_trace(trace_folder), read_noise_floor(trace_folder, folder.name)
        except RecordError:
            continue  # another process is writing it
        if floor is not None and not floor.record.problem:
            yield f"{trace.model} {trace.case}", floor


def draws(floor: NoiseFloor) -> Iterator[tuple[Stage, NoiseRatios]]:
    """Each sample as if it were an engine's, against the samples of the other attention."""
    attentions = [name.partition(",")[0] for name in floor.record.samples]
    for stage, noise in floor.stages.items():
        if not noise.rms.shape[1]:
            continue
        for index, attention in enumerate(attentions):
            others = [other for other, name in enumerate(attentions) if name != attention]
            rest = StageNoise(noise.rms[others], noise.largest[others])
            yield stage, compute_noise_ratios(noise.rms[index], noise.largest[index], rest, SMALLEST)


def main() -> None:
    """Prints one line a dtype and stage."""
    found: dict[tuple[str, Stage], list[tuple[str, NoiseRatios]]] = defaultdict(list)
    for name, floor in floors():
        for stage, drawn in draws(floor):
            found[floor.record.dtype, stage].append((name, drawn))
    table = Table(
        "dtype", "stage", "draws", "sequence", "(sequence - 1) x root of rows", "position", "entry", "over"
    )
    for (dtype, stage), all_draws in sorted(found.items()):
        each = [drawn for _, drawn in all_draws]
        table.add_row(
            dtype,
            stage,
            str(len(each)),
            f"{max(d.sequence for d in each):.3f}",
            f"{max((d.sequence - 1) * len(d.position) ** 0.5 for d in each):.3f}",
            f"{max(d.position.max() for d in each):.3f}",
            f"{max(d.entry.max() for d in each):.3f}",
            str(sum(d.limit_ratio > 1 for d in each)),
        )
    lengths = ", ".join(f"{compute_sequence_limit(rows):.2f} over {rows} rows" for rows in (7, 100, 1000))
    margins = np.array([drawn.limit_ratio for group in found.values() for _, drawn in group])
    console = Console()
    console.print(table)
    console.print(
        f"limits: {ROW_LIMIT:.2f} a row (2 x {WORST_CLEAN_ROW}); a sequence {lengths} ({WORST_CLEAN_SEQUENCE})"
    )
    console.print(
        f"{len(margins)} clean draws use up {np.median(margins):.2f} of their limits in the median and "
        f"{margins.max():.2f} at most; {int((margins > 1).sum())} are over"
    )


if __name__ == "__main__":
    main()
