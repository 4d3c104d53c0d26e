"""The registry of backends: built-in ones and those of other distributions, imported only when used.

Example:
    >>> load_backend_class("vllm")
    <class 'vlm_parity.backends.vllm.backend.VllmBackend'>
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from vlm_parity.schema.engine_setup import EntryPoint
from vlm_parity.util.errors import UnknownBackendError, UnsupportedError

if TYPE_CHECKING:
    from vlm_parity.backends.base import Backend

REFERENCE_BACKEND = "transformers"
BUILT_IN = {
    REFERENCE_BACKEND: "vlm_parity.backends.transformers.backend:TransformersBackend",
    "vllm": "vlm_parity.backends.vllm.backend:VllmBackend",
    "lmdeploy": "vlm_parity.backends.lmdeploy.backend:LmdeployBackend",
}
"""Name to ``module:Class`` of the adapter for the newest supported release."""
ENTRY_POINT_GROUP = "vlm_parity.backends"
"""Entry point group in which other distributions register their backends."""


def list_backend_targets() -> dict[str, str]:
    """Return the ``module:Class`` of every backend by name; a built-in name cannot be replaced."""
    return {**_find_registered(tuple(sys.path)), **BUILT_IN}


@cache
def _find_registered(_path: tuple[str, ...]) -> dict[str, str]:
    """Return the backends of other distributions, which depend on the path alone.

    A search reads the metadata of every installed distribution: 10 to 20 ms in the environment of an engine.
    """
    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_backend_class(name: str, entry_point: EntryPoint = EntryPoint.CHAT) -> type[Backend]:
    """Import the adapter for the installed release of a backend; its engine is not imported yet.

    Args:
        name: a key of ``list_backend_targets``.
        entry_point: the entry point of the cases: for ``server`` the class is a different one.

    Raises:
        UnknownBackendError: no backend has this name.
        UnsupportedError: the backend has no server.
    """
    targets = list_backend_targets()
    if name not in targets:
        raise UnknownBackendError(f"no backend {name!r}; there are: {', '.join(sorted(targets))}")
    from vlm_parity.backends.releases import find_installed_adapter

    backend = _import_class(find_installed_adapter(name) or targets[name])
    if not entry_point.loads_own_engine:
        return backend
    if not backend.server_target:
        raise UnsupportedError(f"{name}: vlm-parity starts no server of this engine")
    return _import_class(backend.server_target)


def _import_class(target: str) -> type[Backend]:
    module, _, attribute = target.partition(":")
    backend: type[Backend] = getattr(import_module(module), attribute)
    return backend
