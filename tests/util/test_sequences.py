"""First differences and common prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.util.sequences import count_common_prefix, find_first_difference

SEQUENCES = st.lists(st.integers(0, 2), max_size=8)


@given(SEQUENCES, SEQUENCES)
def test_sequences_agree_before_their_first_difference(left: list[int], right: list[int]) -> None:
    index = find_first_difference(left, right)
    if index is None:
        assert left == right
    else:
        assert left[:index] == right[:index]
        assert left[index : index + 1] != right[index : index + 1]


@pytest.mark.parametrize(
    ("left", "right", "index"), [("", "", None), ("ab", "ab", None), ("ab", "a", 1), ("", "a", 0)]
)
def test_surplus_items_are_a_difference(left: str, right: str, index: int | None) -> None:
    assert find_first_difference(left, right) == index


@pytest.mark.parametrize(
    ("left", "right", "count"), [("", "a", 0), ("ab", "ab", 2), ("abc", "ab", 2), ("ab", "ac", 1)]
)
def test_common_prefix(left: str, right: str, count: int) -> None:
    assert count_common_prefix(left, right) == count
