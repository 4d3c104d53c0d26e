"""Whether a backend offers what it is asked for."""

from __future__ import annotations

from harness.backends.base import Backend, Request, Unsupported
from harness.trace import ALONE


def check_variant(backend: Backend) -> None:
    """Raises ``Unsupported`` where the backend has no such variant."""
    variant = backend.settings.variant
    if variant not in {ALONE, *backend.variants}:
        known = ", ".join([ALONE, *backend.variants])
        raise Unsupported(f"{backend.name} is not run {variant} by this harness; its variants: {known}")


def check_way_in(backend: Backend, request: Request) -> None:
    """Raises ``Unsupported`` where the backend has no such way in."""
    way_in = request.way_in
    if way_in is not None and way_in not in backend.ways_in:
        known = ", ".join(["its chat path", *backend.ways_in])
        raise Unsupported(f"{backend.name} takes no case by {way_in} from this harness; its ways in: {known}")
