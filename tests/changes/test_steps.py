from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ruptures")

from vlm_parity.changes.steps import Step, detect_steps

margins = st.floats(0.0, 10.0)


@given(value=margins, count=st.integers(0, 40))
def test_a_constant_has_no_step(value: float, count: int) -> None:
    assert detect_steps([value] * count, least=0.01, factor=1.5) == ()


@given(
    level=st.floats(0.05, 0.5),
    ratio=st.floats(2.0, 50.0),
    before=st.integers(2, 30),
    after=st.integers(2, 30),
    falls=st.booleans(),
)
def test_one_step_is_dated_to_its_first_run(
    level: float, ratio: float, before: int, after: int, falls: bool
) -> None:
    levels = (level * ratio, level) if falls else (level, level * ratio)
    (step,) = detect_steps([levels[0]] * before + [levels[1]] * after, least=0.01, factor=1.5)
    assert step.index == before
    assert step.before == pytest.approx(levels[0])
    assert step.after == pytest.approx(levels[1])
    assert step.is_increase is not falls


def test_a_step_below_the_limit_is_found_before_the_limit_is_crossed() -> None:
    nights = [0.21, 0.2, 0.22, 0.21, 0.2, 0.48, 0.5, 0.47]
    assert [step.index for step in detect_steps(nights, least=0.01, factor=1.5)] == [5]


def test_several_steps() -> None:
    nights = [0.1] * 4 + [0.4] * 3 + [0.1] * 4
    steps = detect_steps(nights, least=0.01, factor=1.5)
    assert [(step.index, step.is_increase) for step in steps] == [(4, True), (7, False)]


@pytest.mark.parametrize("place", [0, 5, 9])
def test_one_run_that_stands_out_is_no_step(place: int) -> None:
    nights = [0.2] * 10
    nights[place] = 0.6
    assert detect_steps(nights, least=0.01, factor=1.5) == ()


def test_changes_below_the_least_value_are_no_step() -> None:
    assert detect_steps([0.0, 0.0, 1e-9, 0.009, 0.009], least=0.01, factor=1.5) == ()


def test_infinity_is_a_level() -> None:
    (step,) = detect_steps([0.5] * 3 + [math.inf] * 3, least=0.01, factor=1.5)
    assert step.index == 3


@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_values_that_are_no_distance_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="negative or not a number"):
        detect_steps([0.1, value, 0.1, 0.1], least=0.01, factor=1.5)


@given(st.lists(margins, max_size=30))
def test_levels_of_neighboring_steps_join_and_differ_by_the_factor(values: list[float]) -> None:
    steps = detect_steps(values, least=0.01, factor=1.5)
    assert all(max(each.before, each.after) >= 1.5 * min(each.before, each.after) for each in steps)
    assert all(2 <= each.index <= len(values) - 2 for each in steps)
    assert all(later.index - earlier.index >= 2 for earlier, later in pairwise(steps))


def test_steps_in_pure_noise_are_rare() -> None:
    generator = random.Random(0)  # noqa: S311 (noise, no secret)
    found: list[Step] = []
    for count in (14, 30, 60):
        for _ in range(100):
            noise = [0.3 * 2 ** generator.gauss(0, 0.3) for _ in range(count)]
            found += detect_steps(noise, least=0.01, factor=1.0)[:1]
    assert len(found) <= 300 * 0.05
