"""The engines, one module each, found by name and imported only when used."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from vlm_parity.backends.releases import find_installed_adapter
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
ENTRY_POINT_GROUP = "vlm_parity.backends"


def list_backend_targets() -> dict[str, str]:
    """Every backend's ``module:Class``, the built-in ones first, third parties' by entry point."""
    others = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**others, **BUILT_IN}


def load_backend_class(name: str) -> type[Backend]:
    """Imports the module that speaks to the installed release of a backend (its engine is not imported yet).

    Raises:
        UnknownBackendError: no backend has this name.
    """
    targets = list_backend_targets()
    if name not in targets:
        raise UnknownBackendError(f"no backend {name!r}; there are: {', '.join(sorted(targets))}")
    return _import(find_installed_adapter(name) or targets[name])


def backend_class_at(name: str, entry_point: EntryPoint) -> type[Backend]:
    """Return the class that captures cases of an entry point: another one if a server stands before the engine.

    Raises:
        UnknownBackendError: no backend has this name.
        UnsupportedError: the harness starts no server of this engine.
    """
    backend = load_backend_class(name)
    if not entry_point.loads_own_engine:
        return backend
    if not backend.server_target:
        raise UnsupportedError(f"{name}: the harness starts no server of this engine")
    return _import(backend.server_target)


def _import(target: str) -> type[Backend]:
    module, _, attribute = target.partition(":")
    backend: type[Backend] = getattr(import_module(module), attribute)
    return backend
