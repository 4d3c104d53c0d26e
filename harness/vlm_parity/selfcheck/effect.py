"""The size of the effect of a fault, measured between the faulty and the clean engine."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vlm_parity.diff.feature_distance import compute_feature_distances
from vlm_parity.diff.logit_distance import compute_logit_distances
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.schema.trace import RECORD_FIELDS, Stage, Trace
from vlm_parity.schema.trace_arrays import ArrayFile, open_arrays


def measure_effect(
    stage: Stage, clean: Trace, clean_folder: Path, faulty: Trace, faulty_folder: Path
) -> float:
    """Return the root mean square difference between two traces of one engine at a stage.

    Returns:
        The difference of log-probabilities (``prefill``, ``decode``) or features (``vision``). For all
        other stages, which are compared exactly, 0 if they are equal and infinity if not.
    """
    field = RECORD_FIELDS.get(stage)
    if field is not None and getattr(clean, field) != getattr(faulty, field):
        return math.inf
    with open_arrays(clean_folder) as before, open_arrays(faulty_folder) as after:
        if before is None or after is None:
            return 0.0
        return _compare_arrays(stage, before, after)


def _compare_arrays(stage: Stage, before: ArrayFile, after: ArrayFile) -> float:
    names = [name for name in before.names if name == stage or name.startswith(f"{stage}.")]
    if any(name not in after or before.shape(name) != after.shape(name) for name in names):
        return math.inf
    if stage in {Stage.PREFILL, Stage.DECODE}:
        return _compare_logits(str(stage), before, after)
    if stage is Stage.VISION:
        return compute_rms(compute_feature_distances(before.read(stage), after.read(stage))[0])
    equal = all(np.array_equal(before.read(name), after.read(name)) for name in names)
    return 0.0 if equal else math.inf


def _compare_logits(name: str, before: ArrayFile, after: ArrayFile) -> float:
    distances = compute_logit_distances(
        lambda start, stop: before.rows(name, start, stop),
        lambda start, stop: after.rows(name, start, stop),
        *before.shape(name),
    )
    return compute_rms(distances.rms)
