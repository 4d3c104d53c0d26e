"""Why positions differ."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.traces import ARRAYS, IDS, IMAGE, TraceFiles, make_trace
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Verdict

GRID = np.arange(len(IDS))[np.newaxis].repeat(3, axis=0)
"""Three axes that differ inside the image, a square of two by two, and agree after it."""
GRID[0, IMAGE.positions] = 3
GRID[1, IMAGE.positions] = [3, 3, 4, 4]
GRID[2, IMAGE.positions] = [3, 4, 3, 4]
GRID[:, IMAGE.runs[0][1] :] = np.arange(len(IDS) - IMAGE.runs[0][1]) + 5


def verdict(trace_files: TraceFiles, tested: np.ndarray, reference: np.ndarray = GRID) -> Verdict:
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "positions": reference})
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "positions": tested})
    found = trace_files.decide_verdict()
    assert found.first_divergence in {Stage.POSITIONS, None}
    return found


def causes(found: Verdict) -> list[str]:
    return [diagnosis.cause for diagnosis in found.diagnoses]


def test_text_positions_in_place_of_mrope(trace_files: TraceFiles) -> None:
    plain = np.arange(len(IDS))[np.newaxis].repeat(3, axis=0)
    found = verdict(trace_files, plain)
    assert causes(found)[0] == "mrope replaced by text positions"
    assert "vllm numbers its 12 tokens consecutively" in found.diagnoses[0].explanation


@pytest.mark.parametrize("reference", [GRID, np.arange(len(IDS))[np.newaxis]])
@pytest.mark.parametrize("shift", [-1, 2])
def test_positions_that_start_at_another_number(
    trace_files: TraceFiles, shift: int, reference: np.ndarray
) -> None:
    found = verdict(trace_files, reference + shift, reference)
    assert causes(found)[0] == "position offset differs"
    assert f"off by {shift:+}" in found.diagnoses[0].explanation


@pytest.mark.parametrize("shift", [-2, 1, 5])
def test_text_behind_an_image_that_starts_elsewhere(trace_files: TraceFiles, shift: int) -> None:
    other = GRID.copy()
    other[:, IMAGE.runs[0][1] :] += shift
    found = verdict(trace_files, other)
    assert causes(found) == ["text position after media differs"]
    assert f"continues at {5 + shift} in vllm and at 5 in the reference" in found.diagnoses[0].explanation


@pytest.mark.parametrize("first", [7, 9])
def test_text_behind_an_image_in_the_prefix_cache(trace_files: TraceFiles, first: int) -> None:
    """The positions of the first seven ids were not recorded."""
    other, cached = GRID.copy(), IMAGE.runs[0][1]
    other[:, first:] += 2
    arrays = {
        **ARRAYS,
        "positions": other[:, cached:],
        "prefill": ARRAYS["prefill"][cached:],
        "vision": ARRAYS["vision"][:0],
    }
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, "positions": GRID})
    trace_files.write(trace_files.tested, make_trace(mode="prefix_cached", cached_tokens=cached), arrays)
    found = trace_files.decide_verdict()
    assert found.first_divergence is Stage.POSITIONS
    assert "text position after media differs" in causes(found)


def test_the_time_of_an_image_that_starts_elsewhere(trace_files: TraceFiles) -> None:
    other = GRID.copy()
    other[0, IMAGE.positions] += 3
    found = verdict(trace_files, other)
    assert causes(found)[0] == "temporal position offset differs"
    assert found.diagnoses[0].explanation == (
        "The temporal positions of image 0 start at 6 in vllm and at 3 in the reference; "
        "height and width agree."
    )


def test_steps_in_time_that_are_lost(trace_files: TraceFiles) -> None:
    reference = GRID.copy()
    reference[0, IMAGE.positions] = [3, 3, 5, 5]
    found = verdict(trace_files, GRID, reference)
    assert causes(found)[0] == "temporal position steps lost"
    assert found.diagnoses[0].explanation == (
        "All temporal positions of image 0 are 3 in vllm; they are 3, 5 in the reference; "
        "height and width agree."
    )


def test_steps_in_time_that_are_lost_where_rows_are_in_another_order_too(trace_files: TraceFiles) -> None:
    reference, other = GRID.copy(), GRID.copy()
    reference[0, IMAGE.positions], other[0, IMAGE.positions] = [3, 3, 5, 5], 6
    other[1, IMAGE.positions] = other[1, IMAGE.positions][::-1]
    found = verdict(trace_files, other, reference)
    assert causes(found)[0] == "temporal position steps lost"
    assert found.diagnoses[0].explanation.endswith("; the other axes differ, too.")


def test_steps_of_another_size_are_neither_lost_nor_moved(trace_files: TraceFiles) -> None:
    reference, other = GRID.copy(), GRID.copy()
    reference[0, IMAGE.positions], other[0, IMAGE.positions] = [3, 3, 5, 5], [3, 3, 4, 4]
    assert causes(verdict(trace_files, other, reference)) == ["media positions differ"]


def test_positions_inside_an_image(trace_files: TraceFiles) -> None:
    other = GRID.copy()
    other[1:, IMAGE.positions] = other[:0:-1, IMAGE.positions]
    found = verdict(trace_files, other)
    assert causes(found) == ["media positions differ"]
    assert found.diagnoses[0].explanation == "The positions of 2 media tokens differ on: height, width."


def test_fractions_that_are_cut_off(trace_files: TraceFiles) -> None:
    fractions = GRID.astype(np.float64)
    fractions[0, IMAGE.positions[2:]] += 2 / 3
    found = verdict(trace_files, GRID, fractions)
    assert causes(found)[0] == "fractional positions truncated"
    assert "vllm truncates 2 positions that are fractional in the reference" in found.diagnoses[0].explanation


def test_a_match_needs_no_explanation(trace_files: TraceFiles) -> None:
    assert causes(verdict(trace_files, GRID)) == []
