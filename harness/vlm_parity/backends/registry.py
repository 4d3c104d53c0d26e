"""The engines, one module each, found by name and imported only when used."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from vlm_parity.backends.releases import adapter_of_installed
from vlm_parity.util.errors import UnknownBackendError

if TYPE_CHECKING:
    from vlm_parity.backends.base import Backend

REFERENCE = "transformers"
BUILT_IN = {
    REFERENCE: "vlm_parity.backends.transformers.backend:TransformersBackend",
    "vllm": "vlm_parity.backends.vllm.backend:VllmBackend",
    "lmdeploy": "vlm_parity.backends.lmdeploy.backend:LmdeployBackend",
}
ENTRY_POINT_GROUP = "vlm_parity.backends"


def backend_targets() -> dict[str, str]:
    """Every backend's ``module:Class``, the built-in ones first, third parties' by entry point."""
    others = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**others, **BUILT_IN}


def backend_class(name: str) -> type[Backend]:
    """Imports the module that speaks to the installed release of a backend (its engine is not imported yet).

    Raises:
        UnknownBackendError: no backend has this name.
    """
    targets = backend_targets()
    if name not in targets:
        raise UnknownBackendError(f"no backend {name!r}; there are: {', '.join(sorted(targets))}")
    module, _, attribute = (adapter_of_installed(name) or targets[name]).partition(":")
    found: type[Backend] = getattr(import_module(module), attribute)
    return found
