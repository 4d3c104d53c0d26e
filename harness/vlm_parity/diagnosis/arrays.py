"""Helpers of rules on numeric stages: the arrays of both sides, and the test of an explanation."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.registry import RuleInput
from vlm_parity.diff.noise_tolerance import ROW_LIMIT, compute_rms
from vlm_parity.schema.trace_arrays import ArrayFile

_BELOW_BFLOAT16 = 0xFFFF  # the bits of a float32 that a bfloat16 lacks


def open_array_files(rule_input: RuleInput) -> tuple[ArrayFile, ArrayFile]:
    """Return the arrays of the reference and of the tested side, at a stage that was compared by them."""
    left, right = rule_input.pair.reference_tensors, rule_input.pair.tested_tensors
    assert left is not None, "the stage was compared"
    assert right is not None, "the stage was compared"
    return left, right


def find_low_precision(values: np.ndarray) -> str | None:
    """Return the lower-precision dtype in which all values of a float32 array are exact; None if none is."""
    if not (values.view(np.uint32) & _BELOW_BFLOAT16).any():
        return "bfloat16"
    with np.errstate(over="ignore"):  # a value beyond float16 is not exact in it
        return "float16" if (values.astype(np.float16).astype(np.float32) == values).all() else None


def fit_scale_factor(rule_input: RuleInput, reference: np.ndarray, tested: np.ndarray) -> float | None:
    """Fit one factor that turns the reference's values into the tested ones; None if none does."""
    size = np.square(reference).sum()
    factor = float((reference * tested).sum() / size) if size else 0.0
    return factor if factor and matches_expected(rule_input, reference, reference * factor, tested) else None


def matches_expected(
    rule_input: RuleInput, reference: np.ndarray, expected: np.ndarray, tested: np.ndarray
) -> bool:
    """Return whether the values that an explanation predicts leave only noise of the difference."""
    noise = rule_input.pair.noise(rule_input.diff.stage)
    assert noise is not None, "the stage was compared"
    rest, before = compute_rms(tested - expected), compute_rms(tested - reference)
    return rest <= before / 2 and rest <= ROW_LIMIT * compute_rms(noise.rms)
