"""Whether a backend offers what it is asked for."""

from __future__ import annotations

from vlm_parity.backends.base import Backend, Request
from vlm_parity.schema.trace import ALONE
from vlm_parity.util.errors import UnsupportedError


def check_variant(backend: Backend) -> None:
    """Raises ``UnsupportedError`` where the backend has no such variant."""
    variant = backend.settings.variant
    if variant not in {ALONE, *backend.variants}:
        known = ", ".join([ALONE, *backend.variants])
        raise UnsupportedError(f"{backend.name} is not run {variant} by this harness; its variants: {known}")


def check_way_in(backend: Backend, request: Request) -> None:
    """Raises ``UnsupportedError`` where the backend has no such way in."""
    way_in = request.way_in
    if way_in is not None and way_in not in backend.ways_in:
        known = ", ".join(["its chat path", *backend.ways_in])
        raise UnsupportedError(
            f"{backend.name} takes no case by {way_in} from this harness; its ways in: {known}"
        )
