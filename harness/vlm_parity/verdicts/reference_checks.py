"""Sanity checks of the reference."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vlm_parity.diff.pair import TracePair
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import StageDiff


def find_reference_problem(pair: TracePair, stages: Iterable[StageDiff]) -> str | None:
    """Describe the first problem of the reference; None if it is valid."""
    return _check_ids(pair) or _check_features(pair) or _check_numbers(stages) or _check_floor(pair)


def _check_ids(pair: TracePair) -> str | None:
    tensors, largest = pair.reference_tensors, max(pair.reference.input_ids or (0,))
    if tensors is None or Stage.PREFILL not in tensors:
        return None
    vocabulary = tensors.shape(Stage.PREFILL)[1]
    if largest >= vocabulary:
        return f"its input id {largest} is outside the vocabulary of {vocabulary}"
    return None


def _check_features(pair: TracePair) -> str | None:
    tensors, spans = pair.reference_tensors, pair.reference.spans
    if tensors is None or Stage.VISION not in tensors or spans is None:
        return None
    features, embedded = tensors.shape(Stage.VISION)[0], sum(span.embedded for span in spans)
    if features != embedded:
        return f"its spans embed {embedded} positions, but its vision tower returns {features} features"
    return None


def _check_numbers(stages: Iterable[StageDiff]) -> str | None:
    for diff in stages:
        count = diff.metrics.get("reference_not_finite", 0)
        if count:
            return f"its {diff.stage} is not finite at {count} positions"
    return None


def _check_floor(pair: TracePair) -> str | None:
    if pair.tested.depth is not Depth.LOGITS:
        return None
    name = f"its noise floor in {pair.tested.environment.dtype}"
    if pair.floor is None:
        return f"{name} was not measured"
    if pair.floor.record.problem:
        return f"{name} could not be measured: {pair.floor.record.problem}"
    for stage in (Stage.VISION, Stage.PREFILL, Stage.DECODE):
        problem = _check_stage_noise(pair, stage)
        if problem:
            return f"{name} {problem} at {stage}"
    return None


def _check_stage_noise(pair: TracePair, stage: Stage) -> str | None:
    """Describe the problem of the noise at a stage; None if the reference has no rows there.

    Infinite noise would make every difference small.
    """
    if pair.reference_tensors is None or stage not in pair.reference_tensors:
        return None
    rows, noise = pair.reference_tensors.shape(stage)[0], pair.noise(stage)
    if stage is Stage.VISION:
        rows *= 1 + pair.reference.deep_levels
    if not rows:
        return None
    if noise is None:
        return "was not measured"
    if any(array.shape[1:] != (rows,) for array in (noise.rms, noise.largest)):
        return f"does not have the {rows} rows of the reference"
    if not (np.isfinite(noise.rms).all() and np.isfinite(noise.largest).all()):
        return "is not finite"
    return None
