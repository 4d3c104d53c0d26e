"""The bound: between what good engines show and the smallest real fault, from transformers alone."""

from __future__ import annotations

import pytest

from harness.judge.bound import FLOORS, MARGIN, bound_for
from harness.options import DTYPES

GOOD_ENGINES, SMALLEST_FAULT = 5e-6, 1.3e-3
"""float32, as measured; see the texts in ``harness/judge/bound.py``."""


def test_float32_leaves_room_on_both_sides() -> None:
    assert 5 * GOOD_ENGINES < bound_for("float32").max_abs < SMALLEST_FAULT / 40


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_that_one_may_ask_for_has_a_bound_that_names_its_source(dtype: str) -> None:
    bound = bound_for(dtype)
    assert bound.max_abs == MARGIN * FLOORS[dtype]
    assert bound.source == f"4 x {FLOORS[dtype]:g}, transformers' own distance from float64 in {dtype}"


def test_coarser_dtypes_are_allowed_more() -> None:
    assert FLOORS["float32"] < FLOORS["float16"] < FLOORS["bfloat16"]
