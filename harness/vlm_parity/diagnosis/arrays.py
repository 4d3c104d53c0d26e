"""What rules on numbers share: the arrays of both sides, and whether an explanation accounts for them."""

from __future__ import annotations

import numpy as np

from vlm_parity.diagnosis.registry import Finding
from vlm_parity.diff.noise_tolerance import ROW_LIMIT, root_mean_square
from vlm_parity.schema.trace_arrays import TensorFile


def both_files(finding: Finding) -> tuple[TensorFile, TensorFile]:
    """The arrays of the reference and of the tested side, at a stage that was compared by them."""
    left, right = finding.pair.reference_tensors, finding.pair.tested_tensors
    assert left is not None and right is not None, "the stage was compared"  # noqa: PT018
    return left, right


def factor_between(finding: Finding, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """The one factor that turns the reference's numbers into the tested ones; None where none does."""
    size = np.square(ours).sum()
    factor = float((ours * theirs).sum() / size) if size else 0.0
    return factor if factor and explains(finding, ours, ours * factor, theirs) else None


def explains(finding: Finding, ours: np.ndarray, expected: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether what an explanation expects takes away most of the difference, and leaves only noise."""
    noise = finding.pair.noise(finding.diff.stage)
    assert noise is not None, "the stage was compared"
    rest, before = root_mean_square(theirs - expected), root_mean_square(theirs - ours)
    return rest <= before / 2 and rest <= ROW_LIMIT * root_mean_square(noise.rms)
