"""Arguments with which LMDeploy calls one of its modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the keyword arguments to call with."""


@contextmanager
def change_arguments(module: Any, change: Change) -> Iterator[None]:
    """Change the arguments of a module's ``forward`` while the block runs; the last change is first.

    Positional arguments are passed by their names, too.

    ``forward`` is wrapped, because some models of LMDeploy call it directly, past any hook.
    """
    forward = module.forward
    names = list(signature(forward).parameters)

    @wraps(forward)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return forward(**change({**dict(zip(names, args, strict=False)), **kwargs}))

    before = vars(module).get("forward")
    module.forward = changed
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
