"""Measures the noise floor of a case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from vlm_parity.backends.base import Outputs
from vlm_parity.diff.feature_distance import compute_feature_distances
from vlm_parity.diff.logit_distance import compute_logit_distances
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, StageNoise
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.trace_arrays import ArrayFile

Rows = tuple[np.ndarray, np.ndarray]
"""Root mean square and largest absolute difference, one entry per row."""


def measure_noise_floor(
    samples: Iterable[tuple[str, Outputs]],
    truth: ArrayFile,
    spans: Iterable[Span],
    truth_dtype: str,
    dtype: str,
) -> NoiseFloor:
    """Run the samples one after the other and record the distance of each from the truth.

    Args:
        samples: runs of the reference in ``dtype``, each with its name.
        truth: the arrays of the reference trace.
        spans: the spans of the reference trace.
        truth_dtype: the dtype of the reference trace.
        dtype: the dtype of the samples.
    """
    embedded = [position for span in spans for position in span.positions]
    distances: dict[Stage, list[Rows]] = defaultdict(list)
    names = []
    for name, outputs in samples:
        names.append(name)
        for stage, array in ((Stage.PREFILL, outputs.prefill), (Stage.DECODE, outputs.decode)):
            if array is not None:
                distances[stage].append(_logit_rows(truth, stage, array))
        if embedded and outputs.embeddings is not None:
            rows = len(embedded) * (1 + outputs.deep_levels)  # each position has one for every layer
            sides = (truth.read(Stage.VISION), outputs.embeddings[embedded])
            distances[Stage.VISION].append(
                compute_feature_distances(*(side.reshape(rows, -1) for side in sides))
            )
    record = FloorRecord(truth=truth_dtype, dtype=dtype, samples=tuple(names), stages=tuple(distances))
    return NoiseFloor(record, {stage: _stack_rows(rows) for stage, rows in distances.items()})


def _logit_rows(truth: ArrayFile, stage: Stage, tested: np.ndarray) -> Rows:
    distances = compute_logit_distances(
        lambda start, stop: truth.rows(stage, start, stop),
        lambda start, stop: tested[start:stop],
        *truth.shape(stage),
    )
    return distances.rms, distances.max_abs


def _stack_rows(rows: list[Rows]) -> StageNoise:
    return StageNoise(*(np.stack(samples) for samples in zip(*rows, strict=True)))
