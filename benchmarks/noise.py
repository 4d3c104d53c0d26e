"""Distances between the samples of transformers, which the limits of the noise floor are derived from.

  python benchmarks/noise.py

Reads the noise floors that earlier runs have left in the cache of reference traces, compares the samples of
one attention implementation with those of the other as if they were an engine's, and prints the largest
ratios. The limits are in harness/vlm_parity/diff/noise_tolerance.py; no sample may be beyond them. Create the
floors first: `parity run --backend vllm`, then the same with `--dtype bfloat16`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from target import USAGE, build_parser, get_exit_code

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


def read_floors() -> Iterator[NoiseFloor]:
    """Yield every noise floor in the cache, in the order of the folders."""
    for folder in sorted((get_cache_root() / "reference").glob(f"*/{FLOORS}/*")):
        trace_folder: Path = folder.parent.parent
        try:
            read_trace(trace_folder)  # complete
            floor = read_noise_floor(trace_folder, folder.name)
        except RecordError:
            continue  # another process is writing it
        if floor is not None and not floor.record.problem:
            yield floor


def compare_samples(floor: NoiseFloor) -> Iterator[tuple[Stage, NoiseRatios]]:
    """Yield the ratios of each sample, as if it were an engine's, against the other attention's samples."""
    attentions = [name.partition(",")[0] for name in floor.record.samples]
    for stage, noise in floor.stages.items():
        if not noise.rms.shape[1]:
            continue
        for index, attention in enumerate(attentions):
            others = [other for other, name in enumerate(attentions) if name != attention]
            rest = StageNoise(noise.rms[others], noise.largest[others])
            yield stage, compute_noise_ratios(noise.rms[index], noise.largest[index], rest, SMALLEST)


def main() -> int:
    """Print a row for each dtype and stage, and return the exit code."""
    build_parser(str(__doc__)).parse_args()
    ratios: dict[tuple[str, Stage], list[NoiseRatios]] = defaultdict(list)
    for floor in read_floors():
        for stage, ratio in compare_samples(floor):
            ratios[floor.record.dtype, stage].append(ratio)
    if not ratios:
        print(
            f"{get_cache_root()}: holds no noise floor; run `parity run --backend vllm` first",
            file=sys.stderr,
        )
        return USAGE
    table = Table(
        "dtype",
        "stage",
        "samples",
        "sequence",
        "(sequence - 1) x root of rows",
        "position",
        "entry",
        "beyond",
    )
    for (dtype, stage), group in sorted(ratios.items()):
        table.add_row(
            dtype,
            stage,
            str(len(group)),
            f"{max(r.sequence for r in group):.3f}",
            f"{max((r.sequence - 1) * len(r.position) ** 0.5 for r in group):.3f}",
            f"{max(r.position.max() for r in group):.3f}",
            f"{max(r.entry.max() for r in group):.3f}",
            str(sum(r.limit_ratio > 1 for r in group)),
        )
    lengths = ", ".join(f"{compute_sequence_limit(rows):.2f} over {rows} rows" for rows in (7, 100, 1000))
    limit_ratios = np.array([ratio.limit_ratio for group in ratios.values() for ratio in group])
    console = Console()
    console.print(table)
    console.print(
        f"limits: {ROW_LIMIT:.2f} a row (2 x {WORST_CLEAN_ROW}); a sequence {lengths} "
        f"({WORST_CLEAN_SEQUENCE})"
    )
    console.print(
        f"{len(limit_ratios)} samples without a fault use {np.median(limit_ratios):.2f} of their limits in "
        f"the median and {limit_ratios.max():.2f} at most; {int((limit_ratios > 1).sum())} are beyond"
    )
    return get_exit_code([bool((limit_ratios <= 1).all())])


if __name__ == "__main__":
    sys.exit(main())
