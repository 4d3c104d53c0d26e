"""Accounts of wall time: every second belongs to one phase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.util.phase_clock import PhaseClock


class Time:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_time_belongs_to_the_innermost_phase() -> None:
    time = Time()
    clock = PhaseClock("other", time)
    time.seconds = 1
    with clock.measure("capture"):
        time.seconds = 3
        with clock.measure("diff"):
            time.seconds = 7
        time.seconds = 15
    time.seconds = 31
    assert clock.read() == {"other": 17, "capture": 10, "diff": 4}


@pytest.mark.parametrize(("measured", "moved"), [(7, 7), (11, 10)], ids=["a part", "more than there is"])
def test_time_that_a_child_has_measured_is_moved(measured: float, moved: float) -> None:
    time = Time()
    clock = PhaseClock("other", time)
    with clock.measure("wait"):
        time.seconds = 10
        clock.move("load", measured)
    assert clock.read() == {"other": 0, "wait": 10 - moved, "load": moved}


def test_a_phase_that_raises_ends() -> None:
    time = Time()
    clock = PhaseClock("other", time)

    def fail() -> None:
        with clock.measure("load"):
            time.seconds = 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    time.seconds = 3
    assert clock.read() == {"other": 1, "load": 2}


@given(st.recursive(st.floats(0, 100), lambda children: st.lists(children, max_size=4), max_leaves=20))
def test_phases_add_up_to_all_time(tree: object) -> None:
    time = Time()
    clock = PhaseClock("other", time)

    def spend(node: object, depth: int) -> None:
        if isinstance(node, list):
            with clock.measure(str(depth % 3)):
                for child in node:
                    spend(child, depth + 1)
        else:
            assert isinstance(node, float)
            time.seconds += node
            clock.move("moved", node / 2)

    spend(tree, 0)
    seconds = clock.read()
    assert sum(seconds.values()) == pytest.approx(time.seconds)
    assert min(seconds.values()) >= 0
