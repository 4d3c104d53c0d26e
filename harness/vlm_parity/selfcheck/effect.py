"""How much a fault changes what an engine does, by the engine's own measure: with it against without."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vlm_parity.diff.feature_distance import select_feature_rows
from vlm_parity.diff.logit_distance import compute_logit_distances
from vlm_parity.diff.noise_tolerance import compute_rms
from vlm_parity.schema.trace import RECORD_FIELDS, Stage, Trace
from vlm_parity.schema.trace_arrays import ArrayFile, open_arrays


def measure_effect(
    stage: Stage, clean: Trace, clean_folder: Path, faulty: Trace, faulty_folder: Path
) -> float:
    """The root mean square difference at one stage.

    Returns:
        Of log-probabilities (``prefill``, ``decode``) or features (``vision``); infinite where what has
        to be equal is not, 0 where it is.
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
        return compute_rms(select_feature_rows(before.read(stage), after.read(stage))[0])
    equal = all(np.array_equal(before.read(name), after.read(name)) for name in names)
    return 0.0 if equal else math.inf


def _compare_logits(name: str, before: ArrayFile, after: ArrayFile) -> float:
    measured = compute_logit_distances(
        lambda start, stop: before.rows(name, start, stop),
        lambda start, stop: after.rows(name, start, stop),
        *before.shape(name),
    )
    return compute_rms(measured.rms)
