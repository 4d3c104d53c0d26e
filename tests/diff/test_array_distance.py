"""Values of two arrays, one by one; and the ways of numbers through a narrower dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vlm_parity.diff.array_distance import compare_arrays, round_to_dtype

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4))


@given(arrays(np.float32, SHAPES, elements=ANY))
def test_an_array_is_not_apart_from_itself(values: np.ndarray) -> None:
    found = compare_arrays(values, values.copy(), 0.0)
    assert (found.different, found.over_bound, found.max_abs, found.first) == (0, 0, 0.0, None)


@given(arrays(np.float32, (4, 3), elements=ANY), st.integers(0, 3), st.integers(0, 2), ANY)
def test_one_value(values: np.ndarray, row: int, column: int, other: float) -> None:
    tested = values.copy()
    tested[row, column] = other
    found = compare_arrays(values, tested, 0.0)
    same = np.array_equal(values, tested, equal_nan=True)
    assert (found.over_bound, found.first) == ((0, None) if same else (1, row))
    assert found.max_abs > 0 or same


def test_a_bound_for_each_value() -> None:
    reference, tested = np.zeros((2, 2), np.float32), np.full((2, 2), 0.25, np.float32)
    found = compare_arrays(reference, tested, np.array([[0.5, 0.25], [0.1, np.inf]]))
    assert (found.different, found.over_bound, found.first, found.max_abs) == (4, 1, 1, 0.25)


def test_rows_of_any_rank() -> None:
    reference = np.zeros((3, 2, 2, 2), np.float32)
    tested = reference.copy()
    tested[2, 1, 0, 1] = np.nan
    found = compare_arrays(reference, tested, 1.0)
    assert (found.first, found.over_bound, found.values) == (2, 1, 24)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@given(values=arrays(np.float32, 8, elements=ANY))
def test_rounding_is_that_of_torch(dtype: str, values: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    narrow = torch.from_numpy(values).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(round_to_dtype(values, dtype), narrow)


@pytest.mark.parametrize(
    ("value", "near"),
    [(1.0, 1.0), (1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (1 + 2**-8 + 2**-20, 1 + 2**-7)],
)
def test_bfloat16_goes_to_the_nearest_and_halves_to_even(value: float, near: float) -> None:
    assert round_to_dtype(np.array([value, -value], dtype=np.float32), "bfloat16").tolist() == [near, -near]
