"""Resources of loads: the user's, those of the model list, the defaults."""

from __future__ import annotations

from typing import Any

import pytest

from vlm_parity.cluster.load_resources import (
    DEFAULT_MEMORY_GIB,
    GIB,
    LoadResources,
    ResourceLimits,
    describe_misfit,
    select_resources,
)
from vlm_parity.models.model_list import ListedModel
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.session.plan import EngineLoad

LISTED = ListedModel(
    name="large",
    hub_id="org/large",
    revision="main",
    family="qwen2_vl",
    memory_gib=150,
    dtype="bfloat16",
    tensor_parallel_size=4,
)


def select(model: str = "large", backend: str = "vllm", **changes: Any) -> LoadResources:
    settings: dict[str, Any] = {"device": "cuda", "depth": Depth.LOGITS, "engine_args": {}} | changes
    limits = settings.pop("limits", ResourceLimits())
    return select_resources(EngineLoad(model, backend), limits, {"large": LISTED}, **settings)


@pytest.mark.parametrize(
    ("settings", "gpus"),
    [
        ({}, 4),
        ({"model": "qwen2_vl"}, 1),
        ({"device": "cpu"}, 0),
        ({"depth": Depth.TOKENS}, 0),
        ({"engine_args": {"tensor_parallel_size": "2"}}, 2),
        ({"backend": "lmdeploy", "engine_args": {"tp": "2"}}, 2),
        ({"backend": "lmdeploy", "engine_args": {"tensor_parallel_size": "2"}}, 4),
        ({"limits": ResourceLimits(gpus=0.5)}, 0.5),
    ],
)
def test_gpus(settings: dict[str, Any], gpus: float) -> None:
    assert select(**settings).gpus == gpus


@pytest.mark.parametrize(
    ("settings", "gib"),
    [
        ({}, DEFAULT_MEMORY_GIB),
        ({"device": "cpu"}, 150),
        ({"device": "cpu", "depth": Depth.TOKENS}, DEFAULT_MEMORY_GIB),
        ({"device": "cpu", "limits": ResourceLimits(memory_gib=2)}, 2),
    ],
)
def test_memory(settings: dict[str, Any], gib: float) -> None:
    assert select(**settings).memory == gib * GIB


def test_a_load_that_fits_one_node_fits() -> None:
    nodes = [{"CPU": 1.0, "memory": 1.0}, {"CPU": 4.0, "GPU": 2.0, "memory": 8.0 * GIB}]
    assert describe_misfit(LoadResources(4, 2, 8 * GIB), nodes) == ""


def test_a_misfit_names_what_the_nodes_have() -> None:
    nodes = [{"CPU": 2.0, "memory": 3.0 * GIB}, {"CPU": 4.0, "GPU": 1.0, "memory": 8.0 * GIB}]
    assert describe_misfit(LoadResources(4, 1, 9 * GIB), nodes) == (
        "no node has 4 CPUs, 1 GPUs, 9.0 GiB of memory; the nodes have: 2 CPUs, 3.0 GiB of memory; 4 CPUs, "
        "1 GPUs, 8.0 GiB of memory. Request less with --load-cpus, --load-gpus or --load-memory, or add "
        "a node"
    )
    assert describe_misfit(LoadResources(1, 0, 1), []) == "the cluster has no running node"
