"""Numeric functions on arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.util.numeric import compute_log_softmax


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20))
def test_log_softmax_is_a_distribution(row: list[float]) -> None:
    logprobs = compute_log_softmax(np.array(row, dtype=np.float32))
    assert np.exp(logprobs).sum() == pytest.approx(1)
    assert (logprobs <= 0).all()


def test_log_softmax_is_taken_along_the_last_axis() -> None:
    rows = np.array([[0, 1, 2], [5, -1e4, 5]], dtype=np.float32)
    np.testing.assert_array_equal(compute_log_softmax(rows), [compute_log_softmax(row) for row in rows])


def test_a_row_without_a_distribution_is_not_a_number() -> None:
    assert np.isnan(compute_log_softmax(np.full(3, -np.inf))).all()
