"""Resources of an engine load, and the nodes that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.models.model_list import ListedModel
from vlm_parity.schema.engine_setup import Depth, Device
from vlm_parity.session.plan import EngineLoad

GIB = 2**30
DEFAULT_CPUS = 1.0
DEFAULT_MEMORY_GIB = 4.0
"""Host memory of an engine with a synthetic checkpoint, and of its reference before it."""


@dataclass(frozen=True)
class ResourceLimits:
    """Resources that a user sets for every load; None for the default of the load."""

    cpus: float | None = None
    gpus: float | None = None
    memory_gib: float | None = None


@dataclass(frozen=True)
class LoadResources:
    """Resources that Ray reserves for a load."""

    cpus: float
    gpus: float
    memory: int
    """Bytes of host memory."""

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus:g} CPUs{gpus}, {self.memory / GIB:.1f} GiB of memory"

    def fits(self, node: Mapping[str, float]) -> bool:
        """Return whether a node has these resources if nothing else runs on it.

        Args:
            node: amounts by Ray's names, memory in bytes.
        """
        required = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return all(node.get(name, 0) >= amount for name, amount in required.items())


def select_resources(
    load: EngineLoad,
    limits: ResourceLimits,
    model_list: Mapping[str, ListedModel],
    *,
    device: Device,
    depth: Depth,
    engine_args: Mapping[str, str],
) -> LoadResources:
    """Return the resources of a load: those of the user, else of the model list, else the defaults.

    Args:
        load: the load.
        limits: of the user.
        model_list: entries by name.
        device: of the engines; a load without weights needs no GPU.
        depth: of the session.
        engine_args: of the user, as text.
    """
    entry = model_list.get(load.model)
    runs = depth is Depth.LOGITS
    gpus = _count_gpus(load, entry, engine_args) if runs and device == "cuda" else 0
    weights_gib = entry.memory_gib if entry is not None and runs and device == "cpu" else 0
    memory_gib = max(DEFAULT_MEMORY_GIB, weights_gib)
    return LoadResources(
        cpus=DEFAULT_CPUS if limits.cpus is None else limits.cpus,
        gpus=gpus if limits.gpus is None else limits.gpus,
        memory=int((memory_gib if limits.memory_gib is None else limits.memory_gib) * GIB),
    )


def describe_misfit(resources: LoadResources, nodes: Iterable[Mapping[str, float]]) -> str:
    """Return the reason why no node can ever run a load; empty if one can.

    Args:
        resources: of the load.
        nodes: of each running node, as in ``LoadResources.fits``.
    """
    nodes = list(nodes)
    if any(map(resources.fits, nodes)):
        return ""
    if not nodes:
        return "the cluster has no running node"
    listed = "; ".join(sorted({_format_node(node) for node in nodes}))
    return (
        f"no node has {resources}; the nodes have: {listed}. Request less with --load-cpus, --load-gpus or "
        "--load-memory, or add a node"
    )


def _count_gpus(load: EngineLoad, entry: ListedModel | None, engine_args: Mapping[str, str]) -> int:
    name = load_backend_class(load.backend).tensor_parallel
    text = engine_args.get(name, "")
    if text.isdecimal():
        return int(text)
    return entry.tensor_parallel_size if entry is not None else 1


def _format_node(node: Mapping[str, float]) -> str:
    return str(LoadResources(node.get("CPU", 0), node.get("GPU", 0), int(node.get("memory", 0))))
