"""Measures the noise floor of a case: what ``vlm_parity.schema.noise_floor`` keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from vlm_parity.backends.base import Outputs
from vlm_parity.diff.feature_distance import select_feature_rows
from vlm_parity.diff.logit_distance import compute_logit_distances
from vlm_parity.schema.noise_floor import FloorRecord, NoiseFloor, StageNoise
from vlm_parity.schema.trace import Span, Stage
from vlm_parity.schema.trace_arrays import ArrayFile

Rows = tuple[np.ndarray, np.ndarray]
"""Root mean square and largest absolute difference, one entry a row."""


def measure_noise_floor(
    samples: Iterable[tuple[str, Outputs]],
    truth: ArrayFile,
    spans: Iterable[Span],
    truth_dtype: str,
    dtype: str,
) -> NoiseFloor:
    """Runs the samples one after the other and keeps how far each lies from the truth.

    Args:
        samples: the reference's runs in ``dtype``, each with its name.
        truth: the arrays of the reference's trace.
        spans: the reference's spans.
        truth_dtype: what the reference's trace was computed in.
        dtype: what the samples are computed in.
    """
    embedded = [position for span in spans for position in span.positions]
    found: dict[Stage, list[Rows]] = defaultdict(list)
    names = []
    for name, outputs in samples:
        names.append(name)
        for stage, array in ((Stage.PREFILL, outputs.prefill), (Stage.DECODE, outputs.decode)):
            if array is not None:
                found[stage].append(_logit_rows(truth, stage, array))
        if embedded and outputs.embeddings is not None:
            found[Stage.VISION].append(
                select_feature_rows(truth.read(Stage.VISION), outputs.embeddings[embedded])
            )
    record = FloorRecord(truth=truth_dtype, dtype=dtype, samples=tuple(names))
    return NoiseFloor(record, {stage: _stack_rows(rows) for stage, rows in found.items()})


def _logit_rows(truth: ArrayFile, stage: Stage, tested: np.ndarray) -> Rows:
    measured = compute_logit_distances(
        lambda start, stop: truth.rows(stage, start, stop),
        lambda start, stop: tested[start:stop],
        *truth.shape(stage),
    )
    return measured.rms, measured.max_abs


def _stack_rows(rows: list[Rows]) -> StageNoise:
    return StageNoise(*(np.stack(kind) for kind in zip(*rows, strict=True)))
