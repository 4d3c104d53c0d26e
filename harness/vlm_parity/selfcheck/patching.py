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
