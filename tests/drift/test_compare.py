"""Transformers against itself: equal, within rounding, or apart, and where first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    CONTINUATION,
    DECODE,
    ENVIRONMENT,
    FEATURES,
    IDS,
    NOTHING,
    POSITIONS,
    PREFILL,
    make_trace,
)
from vlm_parity.drift.compare import ReferenceTrace, compare_reference_traces
from vlm_parity.drift.rounding import compute_rounding_bound
from vlm_parity.drift.stages import DriftStatus, StageDrift
from vlm_parity.schema.array_sketch import SKETCH_FILE, sketch_arrays, write_sketch
from vlm_parity.schema.trace import MediaInput, Outcome, Stage, Trace

EQUAL, ROUNDING, DRIFT, NOT_COMPARED = DriftStatus
PIXELS = np.random.default_rng(5).normal(0, 1, (16, 24)).astype(np.float32)
IMAGE_INPUT = MediaInput(modality="image", item=0, fields={"grid": (1, 4, 4)}, arrays=("pixel_values",))
NAME = IMAGE_INPUT.tensor_name("pixel_values")
EVERYTHING = {**ARRAYS, NAME: PIXELS}


def reference(**changes: Any) -> Trace:
    return make_trace("transformers", **{"media": (IMAGE_INPUT,), **changes})


class References:
    """Two references on the disk that agree in everything, until a test writes the right one anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.left = self._write("left", reference(), EVERYTHING)
        self.right = self._write("right", reference(), EVERYTHING)

    def change(self, arrays: dict[str, np.ndarray] | None = None, **changes: Any) -> None:
        self.right = self._write("right", reference(**changes), {**EVERYTHING, **(arrays or {})})

    def compare(self) -> dict[Stage, StageDrift]:
        return {each.stage: each for each in compare_reference_traces(self.left, self.right)}

    def drifts(self) -> dict[Stage, bool]:
        """Return the stages that drift, with their consequence flags."""
        return {stage: each.consequence for stage, each in self.compare().items() if each.status is DRIFT}

    def _write(self, side: str, written: Trace, arrays: dict[str, np.ndarray]) -> ReferenceTrace:
        write_sketch(self._folder / side, sketch_arrays(arrays))
        return ReferenceTrace(written, self._folder / side)


@pytest.fixture
def references(tmp_path: Path) -> References:
    return References(tmp_path)


def moved(array: np.ndarray, by: float) -> np.ndarray:
    """One row is off by ``by``, root mean square of its log-probabilities or its features."""
    changed = array.copy()
    changed[1, ::2] += by
    changed[1, 1::2] -= by
    return changed


def test_equal_references_are_equal_at_every_stage(references: References) -> None:
    found = references.compare()
    assert list(found) == list(Stage)
    reserved = found.pop(Stage.ENCODER_BUDGET)
    assert {each.status for each in found.values()} == {EQUAL}
    assert reserved.message == "transformers reserves nothing"


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("prompt", {"prompt": "<user>Book"}, "first difference at character 6: 'Look: <image>What"),
        ("input_ids", {"input_ids": (*IDS[:-1], 12)}, "12 and 12 ids; first difference at index 11: '<assis"),
        ("input_ids", {"input_ids": IDS[:-1]}, "'<assistant>' (7), the end"),
        ("spans", {"spans": ()}, "1 and 0 spans, 1 differ"),
        ("greedy", {"greedy": (8, 11, 8)}, "first difference at index 2: '.' (12), 'A' (8)"),
        ("media", {"media": ()}, "different media or arrays: [('image', 0, ('pixel_values',))], []"),
        (
            "media",
            {"media": (IMAGE_INPUT.model_copy(update={"fields": {"grid": (1.0, 2.0, 8.0)}}),)},
            "image 0: {'grid': (1.0, 4.0, 4.0)}, {'grid': (1.0, 2.0, 8.0)}",
        ),
    ],
)
def test_records_are_compared_exactly(
    references: References, stage: str, changes: dict[str, Any], message: str
) -> None:
    references.change(**changes)
    assert references.drifts() == {Stage(stage): False}
    assert message in references.compare()[Stage(stage)].message


def test_positions_are_compared_exactly(references: References) -> None:
    shifted = POSITIONS.copy()
    shifted[1, 7:] += 1
    references.change({"positions": shifted})
    assert references.drifts() == {Stage.POSITIONS: False}
    words = references.compare()[Stage.POSITIONS].message
    assert words == "5 of 12 differ; first at index 7: [7, 7, 7], [7, 8, 7]"
    references.change({"positions": POSITIONS[:1]})
    assert references.drifts() == {Stage.POSITIONS: False}


NUMERIC = [
    ("prefill", PREFILL, 1.0),
    ("decode", DECODE, 1.0),
    ("vision", FEATURES, None),
    (NAME, PIXELS, None),
]


@pytest.mark.parametrize(("name", "good", "scale"), NUMERIC, ids=lambda value: str(value)[:12])
def test_numbers_are_compared_up_to_rounding(
    references: References, name: str, good: np.ndarray, scale: float | None
) -> None:
    stage = Stage.MEDIA if name == NAME else Stage(name)
    bound = compute_rounding_bound(stage, ("float32", "float32"))
    unit = bound.rms * (scale or float(np.sqrt(np.mean(good**2))))
    references.change({name: moved(good, unit / 5)})
    found = references.compare()[stage]
    assert (found.status, found.bound) == (ROUNDING, bound.rms)
    assert 0 < (found.rms or 0) < bound.rms
    references.change({name: moved(good, unit * 10)})
    assert references.drifts() == {stage: False}
    found = references.compare()[stage]
    assert bound.rms < (found.rms or 0) < 40 * bound.rms
    assert "at the worst position, 1, " in found.message
    assert bound.source in found.message


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_coarser_dtype_says_what_rounding_is(references: References, dtype: str) -> None:
    references.change(
        {"prefill": moved(PREFILL, 1e-3)}, environment=ENVIRONMENT.model_copy(update={"dtype": dtype})
    )
    expected = ROUNDING if dtype in {"float16", "bfloat16"} else DRIFT
    found = references.compare()[Stage.PREFILL]
    assert (found.status, found.bound) == (
        expected,
        compute_rounding_bound(Stage.PREFILL, (dtype, "float32")).rms,
    )


def test_two_references_in_float64_may_differ_by_their_storage_only() -> None:
    doubles = ("float64", "float64")
    for stage in (Stage.VISION, Stage.PREFILL, Stage.DECODE):
        assert (
            compute_rounding_bound(stage, doubles).rms
            < compute_rounding_bound(stage, ("float64", "float32")).rms / 5
        )


@pytest.mark.parametrize(("name", "good", "scale"), NUMERIC, ids=lambda value: str(value)[:12])
def test_not_a_number_and_another_shape_are_drift(
    references: References, name: str, good: np.ndarray, scale: float | None
) -> None:
    del scale
    for bad in (np.where(good == good[1, 2], np.nan, good), good[:, :-1]):
        references.change({name: bad})
        stage = Stage.MEDIA if name == NAME else Stage(name)
        assert list(references.drifts()) == [stage]
        words = "not finite at 1 positions" if bad.shape == good.shape else "different shapes: "
        assert words in references.compare()[stage].message


@pytest.mark.parametrize(("name", "good"), [("vision", FEATURES), (NAME, PIXELS)], ids=["vision", "media"])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_features_are_compared_relative_to_their_size(
    references: References, name: str, good: np.ndarray, size: float
) -> None:
    left, right = ((good.astype(float) * factor).astype(np.float32) for factor in (size, size * (1 + 2e-7)))
    assert references.left.folder is not None
    write_sketch(references.left.folder, sketch_arrays({name: left}))
    references.change({name: right})
    assert references.compare()[Stage.MEDIA if name == NAME else Stage.VISION].status is ROUNDING


def test_what_follows_a_drift_is_its_consequence(references: References) -> None:
    references.change({"vision": FEATURES * 2, "prefill": moved(PREFILL, 1)}, greedy=(1, 2, 3))
    assert references.drifts() == {Stage.VISION: False, Stage.PREFILL: True, Stage.GREEDY: True}


def test_rows_of_other_ids_have_no_counterpart(references: References) -> None:
    references.change({"prefill": PREFILL[1:]}, input_ids=IDS[1:])
    assert references.drifts() == {Stage.INPUT_IDS: False}
    assert references.compare()[Stage.PREFILL].message == (
        "the ids differ, so the positions have no counterpart"
    )


def test_rows_along_other_tokens_have_no_counterpart(references: References) -> None:
    references.change({"decode": DECODE * 2}, continuation=(*CONTINUATION[:-1], 3))
    assert not references.drifts()
    assert references.compare()[Stage.DECODE].message == "the continuations differ"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CRASH])
def test_a_reference_without_an_answer(references: References, outcome: Outcome) -> None:
    silent: dict[str, Any] = {"outcome": outcome, "message": "no such image", "media": None, **NOTHING}
    references.change(**silent)
    assert references.drifts() == {Stage.PROMPT: False}
    assert f"transformers : {outcome}: no such image" in references.compare()[Stage.PROMPT].message
    references.left, references.right = references.right, references.left
    assert references.drifts() == {Stage.PROMPT: False}
    references.right = references.left
    found = references.compare().values()
    assert {(each.status, each.message) for each in found} == {(NOT_COMPARED, f"both: {outcome}")}


def test_a_failure_of_the_harness_is_no_drift(references: References) -> None:
    silent: dict[str, Any] = {"outcome": Outcome.HARNESS_ERROR, "message": "TypeError", **NOTHING}
    references.change(**silent)
    assert not references.drifts()
    assert {each.status for each in references.compare().values()} == {NOT_COMPARED}


def test_without_weights_what_was_kept_is_compared(references: References, tmp_path: Path) -> None:
    references.change(greedy=None, continuation=None, media=None)
    write_sketch(tmp_path / "right", sketch_arrays({"positions": POSITIONS}))
    statuses = {stage: each.status for stage, each in references.compare().items()}
    kept = (Stage.PROMPT, Stage.INPUT_IDS, Stage.SPANS, Stage.POSITIONS)
    assert statuses == {stage: EQUAL if stage in kept else NOT_COMPARED for stage in Stage}


def test_without_a_sketch_records_are_compared(references: References, tmp_path: Path) -> None:
    (tmp_path / "left" / SKETCH_FILE).unlink()
    found = references.compare()
    assert found[Stage.INPUT_IDS].status is EQUAL
    assert found[Stage.PREFILL].message == "a side stored nothing for this stage"


def test_a_sketch_that_cannot_be_read_is_reported(references: References, tmp_path: Path) -> None:
    (tmp_path / "left" / SKETCH_FILE).write_bytes(b"x")
    found = references.compare()[Stage.PREFILL]
    assert (found.status, "not a sketch" in found.message) == (NOT_COMPARED, True)


def test_other_cases_of_the_same_name_are_not_compared(references: References) -> None:
    references.change(case_digest="1", prompt="other")
    assert {each.status for each in references.compare().values()} == {NOT_COMPARED}
