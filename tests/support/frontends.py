"""Front ends of real engines, loaded once for all test modules of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from typing import Any

from vlm_parity.backends.base import Settings
from vlm_parity.backends.registry import load_backend_class
from vlm_parity.models.build import build_checkpoint
from vlm_parity.schema.engine_setup import Depth

LoadFrontend = Callable[[str, str], Any]
"""Returns the front end of a backend and a family, by their names; Any, because tests patch its internals."""


@contextmanager
def load_frontends() -> Iterator[LoadFrontend]:
    """Return a function that loads front ends with default settings; close them at the end."""
    with ExitStack() as stack:

        @cache
        def load(backend: str, family: str) -> Any:
            frontend = load_backend_class(backend)(Settings(depth=Depth.TOKENS))
            stack.enter_context(closing(frontend)).load(build_checkpoint(family))
            return frontend

        yield load
