"""The bound: between what good engines show and the smallest real fault, from transformers alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.judge.bound import FLOORS, MARGIN, VISION_FLOORS, Bound, bound_for, vision_bound
from harness.options import DTYPES

SMALLEST_FAULT = 1.3e-3
"""float32, as measured; see the texts in ``harness/judge/bound.py``."""


def test_float32_leaves_room_on_both_sides() -> None:
    assert 2 * FLOORS["float32"] < bound_for("float32").max_abs < SMALLEST_FAULT / 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("find", "floors"), [(bound_for, FLOORS), (vision_bound, VISION_FLOORS)])
def test_every_dtype_that_one_may_ask_for_has_a_bound_that_names_its_source(
    find: Callable[[str], Bound], floors: dict[str, float], dtype: str
) -> None:
    bound = find(dtype)
    assert bound.max_abs == MARGIN * floors[dtype]
    assert bound.source == f"4 x {floors[dtype]:g}, transformers' own distance from float64 in {dtype}"


@pytest.mark.parametrize("floors", [FLOORS, VISION_FLOORS])
def test_coarser_dtypes_are_allowed_more(floors: dict[str, float]) -> None:
    assert floors["float32"] < floors["float16"] < floors["bfloat16"]
