"""Checks whether a backend has the requested mode and entry point."""

from __future__ import annotations

from vlm_parity.backends.base import Backend, Request
from vlm_parity.schema.engine_setup import DEFAULT_MODE, EntryPoint
from vlm_parity.util.errors import UnsupportedError


def check_mode(backend: Backend) -> None:
    """Check that the backend has the mode of its settings.

    Raises:
        UnsupportedError: there is no such mode; the message lists those that exist.
    """
    modes = [DEFAULT_MODE, *backend.modes]
    if backend.settings.mode not in modes:
        raise UnsupportedError(
            f"{backend.name} has no mode {backend.settings.mode} in vlm-parity; its modes: {', '.join(modes)}"
        )


def check_entry_point(backend: Backend, request: Request) -> None:
    """Check that the backend has the entry point of the request.

    Raises:
        UnsupportedError: there is no such entry point; the message lists those that exist.
    """
    entry_points = [EntryPoint.CHAT, *backend.entry_points]
    if request.entry_point not in entry_points:
        raise UnsupportedError(
            f"{backend.name} has no entry point {request.entry_point} in vlm-parity; its entry points: "
            f"{', '.join(entry_points)}"
        )
