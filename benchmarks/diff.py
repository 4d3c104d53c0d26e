"""Throughput of the comparison of logits, against that of a plain copy of the same bytes.

  python benchmarks/diff.py

Runs in any environment with vlm-parity; no engine starts. The comparison uses all cores, the copy uses one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from target import build_parser, check_target, get_exit_code

from vlm_parity.diff.logit_distance import compute_logit_distances

ROWS = 256
VOCABULARY = 151_936  # that of Qwen2-VL
REPETITIONS = 9
TARGET = 0.4
"""The least share of the throughput of a copy."""


def main() -> int:
    """Measure both and return the exit code."""
    build_parser(str(__doc__)).parse_args()
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((ROWS, VOCABULARY), dtype=np.float32) * 3
    noise = rng.standard_normal((ROWS, VOCABULARY), dtype=np.float32) * np.float32(1e-6)
    pair = np.stack([reference, reference + noise])
    copy = np.empty_like(pair)

    def compare() -> None:
        compute_logit_distances(lambda a, b: pair[0, a:b], lambda a, b: pair[1, a:b], ROWS, VOCABULARY)

    print(f"two sides of {ROWS} rows of {VOCABULARY} logits, {os.cpu_count()} cores")
    compare()
    np.copyto(copy, pair)  # the first access to its pages is not part of a copy
    rounds = [(_measure(compare), _measure(lambda: np.copyto(copy, pair))) for _ in range(REPETITIONS)]
    for name, seconds in zip(("distances", "np.copyto"), zip(*rounds, strict=True), strict=True):
        print(f"{name:10} {pair.nbytes / median(seconds) / 1e9:6.2f} GB/s (median of {REPETITIONS})")
    ratios = [copied / compared for compared, copied in rounds]
    return get_exit_code([check_target("distances / np.copyto", ratios, TARGET, "least")])


def _measure(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
