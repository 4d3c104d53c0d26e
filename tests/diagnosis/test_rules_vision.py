"""Why features differ."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.traces import ARRAYS, FEATURES, FLOOR, TraceFiles, make_trace
from vlm_parity.schema.noise_floor import StageNoise
from vlm_parity.schema.trace import MediaInput, Stage
from vlm_parity.schema.verdict import Verdict

TOWER = "vision tower differs with equal pixels"


def verdict(
    trace_files: TraceFiles,
    tested: np.ndarray,
    pixels: float = 0.0,
    *,
    reference: np.ndarray = FEATURES,
    deep_levels: int = 0,
) -> Verdict:
    """Decide the verdict on features, for equal or different pixels."""
    media = (MediaInput(modality="image", item=0, arrays=("pixel_values",)),)
    for folder, name, features, shade in (
        (trace_files.reference, "transformers", reference, 0.0),
        (trace_files.tested, "vllm", tested, pixels),
    ):
        arrays = {**ARRAYS, "vision": features}
        arrays[media[0].tensor_name("pixel_values")] = np.full((4, 12), shade, np.float32)
        trace_files.write(folder, make_trace(name, media=media, deep_levels=deep_levels), arrays)
    noise = FLOOR.stages[Stage.VISION]
    layered = StageNoise(*(side.repeat(1 + deep_levels, axis=1) for side in (noise.rms, noise.largest)))
    trace_files.measured(replace(FLOOR, stages={**FLOOR.stages, Stage.VISION: layered}))
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


DEEP = np.concatenate([FEATURES, FEATURES[::-1] * 2, FEATURES[::-1] * 3], axis=1)
HIDDEN = FEATURES.shape[1]


def change_layers(start: int, stop: int, factor: float) -> np.ndarray:
    changed = DEEP.copy()
    changed[:, start * HIDDEN : stop * HIDDEN] *= factor
    return changed


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ((0, 1), "features that are merged into the sequence"),
        ((1, 2), "features of layers 1"),
        ((1, 3), "features of layers 1, 2"),
        ((0, 3), "features"),
    ],
)
def test_a_factor_of_some_layers_names_them(
    trace_files: TraceFiles, layers: tuple[int, int], name: str
) -> None:
    found = verdict(trace_files, change_layers(*layers, 1.5), reference=DEEP, deep_levels=2)
    assert causes(found)[0] == "vision features scaled"
    assert found.diagnoses[0].explanation.startswith(
        f"The {name} of vllm are those of the reference times 1.5"
    )


def test_deep_features_that_are_missing_are_named(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, change_layers(1, 3, 0), reference=DEEP, deep_levels=2)
    assert causes(found)[0] == "deep features dropped"


def test_an_engine_that_has_no_deep_features_is_named(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, FEATURES, reference=DEEP, deep_levels=2)
    assert found.first_divergence is Stage.VISION  # both traces claim two levels, and one has none
    assert causes(found)[0] == TOWER
    trace_files.write(trace_files.tested, trace_files.read("tested").model_copy(update={"deep_levels": 0}))
    found = trace_files.decide_verdict()
    assert causes(found)[0] == "deep features dropped"
    assert "vllm has no features for 2 deeper layers" in found.diagnoses[0].explanation


def test_a_tower_that_gives_nothing_at_all_has_dropped_no_deep_features(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, change_layers(0, 3, 0), reference=DEEP, deep_levels=2)
    assert "deep features dropped" not in causes(found)


def test_a_row_in_place_of_another_is_no_other_order(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, FEATURES[[0, 0, 2, 3]])
    assert causes(found)[0] == "vision features repeated"
    assert "1 of these are missing" in found.diagnoses[0].explanation
    assert "belongs at embedded position 1" in found.diagnoses[0].explanation
    assert "vision features reordered" not in causes(found)


def test_equal_rows_may_exchange_their_places(trace_files: TraceFiles) -> None:
    twice = FEATURES[[0, 0, 2, 3]]
    found = verdict(trace_files, np.roll(twice, 1, axis=0), reference=twice)
    assert causes(found)[0] == "vision features reordered"


def test_a_tower_in_a_coarser_dtype(trace_files: TraceFiles) -> None:
    coarse = (FEATURES.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    found = verdict(trace_files, coarse)
    assert causes(found)[0] == "vision features in lower-precision dtype"
    assert "every feature is a bfloat16 value" in found.diagnoses[0].explanation


def test_a_noisy_layer_excuses_no_other_one(trace_files: TraceFiles) -> None:
    quiet, noisy = FLOOR.stages[Stage.VISION], 1e-2
    verdict(trace_files, DEEP, reference=DEEP, deep_levels=2)
    rows = np.full((2, len(FEATURES) * 3), noisy)
    rows[:, ::3] = quiet.rms
    loud = replace(FLOOR, stages={**FLOOR.stages, Stage.VISION: StageNoise(rows, 3 * rows)})
    trace_files.measured(loud)
    changed = DEEP.copy()
    changed[:, :HIDDEN] += 1e-3  # far above the noise of the merged features, below that of the others
    trace_files.write(
        trace_files.tested,
        trace_files.read("tested"),
        {**trace_files.read_arrays("tested"), "vision": changed},
    )
    found = trace_files.decide_verdict().stage(Stage.VISION)
    assert found.message.startswith("vision features of layer 0 differ")
    assert (found.metrics["layers"], found.metrics["worst_layer"]) == (3, 0)
