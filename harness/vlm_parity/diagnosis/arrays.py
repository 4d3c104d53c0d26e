"""What rules on numbers share: the arrays of both sides, and whether an explanation accounts for them."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.registry import RuleInput
from vlm_parity.diff.noise_tolerance import ROW_LIMIT, compute_rms
from vlm_parity.schema.trace_arrays import ArrayFile


def open_array_files(finding: RuleInput) -> tuple[ArrayFile, ArrayFile]:
    """The arrays of the reference and of the tested side, at a stage that was compared by them."""
    left, right = finding.pair.reference_tensors, finding.pair.tested_tensors
    assert left is not None and right is not None, "the stage was compared"
    return left, right


def fit_scale_factor(finding: RuleInput, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """The one factor that turns the reference's numbers into the tested ones; None where none does."""
    size = np.square(ours).sum()
    factor = float((ours * theirs).sum() / size) if size else 0.0
    return factor if factor and matches_expected(finding, ours, ours * factor, theirs) else None


def matches_expected(finding: RuleInput, ours: np.ndarray, expected: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether what an explanation expects takes away most of the difference, and leaves only noise."""
    noise = finding.pair.noise(finding.diff.stage)
    assert noise is not None, "the stage was compared"
    rest, before = compute_rms(theirs - expected), compute_rms(theirs - ours)
    return rest <= before / 2 and rest <= ROW_LIMIT * compute_rms(noise.rms)
