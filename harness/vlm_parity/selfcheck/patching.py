"""Temporary replacement of functions of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

Function = Callable[..., Any]


@contextmanager
def wrap_function(owner: Any, name: str, wrap: Callable[[Function], Function]) -> Iterator[None]:
    """Replace ``owner.name`` by its wrapped version until the block ends.

    Raises:
        AttributeError: there is no such name.
    """
    with patch.object(owner, name, wrap(getattr(owner, name))):
        yield


@contextmanager
def change_result(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Apply ``change`` to the results of ``owner.name`` until the block ends."""

    def wrap(original: Function) -> Function:
        return lambda *args, **options: change(original(*args, **options))

    with wrap_function(owner, name, wrap):
        yield


def order_heads_by_remainder(heads: int, key_heads: int) -> list[int]:
    """Return an order of query heads in which head ``h`` reads key head ``h % key_heads``.

    Attention assigns consecutive heads to a key head: head ``h`` should read ``h // (heads // key_heads)``.

    Raises:
        ValueError: any grouping is the same, since there is one key head, or one for each query head.
    """
    order = [head for key_head in range(key_heads) for head in range(key_head, heads, key_heads)]
    if order == sorted(order):
        raise ValueError(f"{heads} query heads on {key_heads} key heads cannot be grouped differently")
    return order
