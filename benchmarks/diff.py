"""The comparison of logits against a plain copy of the same bytes.

Usage: ``python benchmarks/diff.py``, in any environment with the harness; it starts no engine. The
comparison uses all cores, the copy one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from aim import print_aim

from vlm_parity.diff.logit_distance import compute_logit_distances

ROWS = 256
VOCABULARY = 151_936  # Qwen2-VL's
REPETITIONS = 9
AIM = 0.4
"""The least share of a copy's throughput."""


def main() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((ROWS, VOCABULARY), dtype=np.float32) * 3
    noise = rng.standard_normal((ROWS, VOCABULARY), dtype=np.float32) * np.float32(1e-6)
    pair = np.stack([reference, reference + noise])
    copy = np.empty_like(pair)

    def compare() -> None:
        compute_logit_distances(lambda a, b: pair[0, a:b], lambda a, b: pair[1, a:b], ROWS, VOCABULARY)

    print(f"two sides of {ROWS} rows of {VOCABULARY} logits, {os.cpu_count()} cores")
    compare()
    np.copyto(copy, pair)  # the first touch of its pages is no part of a copy
    rounds = [(_seconds(compare), _seconds(lambda: np.copyto(copy, pair))) for _ in range(REPETITIONS)]
    for name, seconds in zip(("distances", "np.copyto"), zip(*rounds, strict=True), strict=True):
        print(f"{name:10} {pair.nbytes / median(seconds) / 1e9:6.2f} GB/s (median of {REPETITIONS})")
    print_aim("distances / np.copyto", [copied / compared for compared, copied in rounds], AIM, "least")


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
