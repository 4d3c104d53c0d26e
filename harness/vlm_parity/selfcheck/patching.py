"""How faults are planted: a function of the engine is wrapped, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

Function = Callable[..., Any]


@contextmanager
def wrap_function(owner: Any, name: str, wrap: Callable[[Function], Function]) -> Iterator[None]:
    """Has ``owner.name`` be what ``wrap`` makes of it. A name that is gone raises ``AttributeError``."""
    with patch.object(owner, name, wrap(getattr(owner, name))):
        yield


@contextmanager
def change_result(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Has ``owner.name`` give ``change`` of what it gives."""

    def wrap(original: Function) -> Function:
        return lambda *args, **options: change(original(*args, **options))

    with wrap_function(owner, name, wrap):
        yield
