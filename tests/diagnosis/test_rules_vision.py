"""Why features differ."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, FEATURES, TraceFiles, make_trace
from vlm_parity.schema.trace import MediaInput, Stage
from vlm_parity.schema.verdict import Verdict

TOWER = "vision tower differs with equal pixels"


def verdict(trace_files: TraceFiles, tested: np.ndarray, pixels: float = 0.0) -> Verdict:
    """Decide the verdict on features, for equal or different pixels."""
    media = (MediaInput(modality="image", item=0, arrays=("pixel_values",)),)
    for folder, name, features, shade in (
        (trace_files.reference, "transformers", FEATURES, 0.0),
        (trace_files.tested, "vllm", tested, pixels),
    ):
        arrays = {**ARRAYS, "vision": features}
        arrays[media[0].tensor_name("pixel_values")] = np.full((4, 12), shade, np.float32)
        trace_files.write(folder, make_trace(name, media=media), arrays)
    return trace_files.decide_verdict()


def causes(found: Verdict) -> list[str]:
    return [diagnosis.cause for diagnosis in found.diagnoses]


@given(st.floats(0.1, 10).filter(lambda factor: abs(factor - 1) > 1e-3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_a_factor_is_reported_with_its_number(trace_files: TraceFiles, factor: float) -> None:
    found = verdict(trace_files, (FEATURES.astype(np.float64) * factor).astype(np.float32))
    assert causes(found)[0] == "vision features scaled"
    passed = re.search(r"times ([\d.]+):", found.diagnoses[0].explanation)
    assert passed is not None
    assert float(passed[1]) == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize("by", [1, 2])
def test_rows_at_other_positions(trace_files: TraceFiles, by: int) -> None:
    found = verdict(trace_files, np.roll(FEATURES, by, axis=0))
    assert causes(found)[0] == "vision features reordered"
    assert (
        "All 4 features equal those of the reference, but 4 are at different positions"
        in found.diagnoses[0].explanation
    )


def test_a_tower_that_differs(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, FEATURES + np.float32(1e-3) * np.sin(FEATURES * 50))
    assert causes(found) == [TOWER]


def test_pixels_that_differ_leave_the_tower_alone(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, FEATURES + np.float32(1e-3) * np.sin(FEATURES * 50), pixels=1.0)
    assert found.first_divergence is Stage.MEDIA
    assert TOWER not in causes(found)
