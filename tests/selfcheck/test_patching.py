"""Orders of query heads that change their key heads."""

from __future__ import annotations

import pytest

from vlm_parity.selfcheck.patching import order_heads_by_remainder


def test_heads_are_grouped_by_the_remainder() -> None:
    assert order_heads_by_remainder(4, 2) == [0, 2, 1, 3]
    assert order_heads_by_remainder(6, 3) == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(("heads", "key_heads"), [(2, 1), (2, 2), (4, 4)])
def test_one_key_head_or_one_for_each_query_head_cannot_show_it(heads: int, key_heads: int) -> None:
    with pytest.raises(ValueError, match="cannot be grouped differently"):
        order_heads_by_remainder(heads, key_heads)
