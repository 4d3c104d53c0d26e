"""Comparison of an engine's modules with those of the reference, from recorded calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vlm_parity.backends.common.module_blocks import find_block
from vlm_parity.backends.transformers.engine_values import EngineValues
from vlm_parity.backends.transformers.forced_pass import ForcedPass, ForcedValue, StepKey, measure_noise
from vlm_parity.backends.transformers.model import TransformersModel
from vlm_parity.backends.transformers.module_calls import ATTENTION, ATTENTION_SUFFIX, SkipModule, ValueKey
from vlm_parity.backends.transformers.value_graph import GraphBuilder
from vlm_parity.diff.module_differences import (
    NEAR,
    ComparedValue,
    NodeStates,
    ValueGraph,
    classify_nodes,
    select_differences,
)
from vlm_parity.diff.noise_tolerance import ROW_LIMIT
from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.schema.location import ComparedModule, Location, ModuleDifference
from vlm_parity.schema.module_calls import MODULE_VALUES_FILE, read_module_calls
from vlm_parity.util.errors import UnsupportedError

_SMALL = 0.01
"""The share of a difference that its pattern may leave unexplained."""


def locate_differences(
    truth: TransformersModel,
    get_sample: Callable[[Dtype], TransformersModel],
    prepared: Any,
    folder: Path,
    continuation: tuple[int, ...],
    within: str,
) -> Location:
    """Compare the modules of an engine with those of the reference.

    Args:
        truth: the reference.
        get_sample: returns the reference in a dtype, for the noise.
        prepared: the processor's output for the prompt.
        folder: the recorded calls of the engine.
        continuation: ids to follow; a step is compared for each but the last.
        within: the only block whose modules the engine has recorded; empty for all.

    Raises:
        UnsupportedError: the engine ran another prompt, so nothing corresponds.
        RecordError: the folder does not hold recorded calls.
    """
    calls = read_module_calls(folder)
    if tuple(prepared["input_ids"][0].tolist()) != calls.input_ids:
        raise UnsupportedError("the engine ran other ids than the reference: its values do not correspond")
    if len(calls.steps) < len(continuation):
        raise UnsupportedError(
            f"the engine's modules were recorded in {len(calls.steps) - 1} decoding steps, but "
            f"{len(continuation) - 1} are to be compared; LMDeploy's steps in a batch are not recorded"
        )
    arrays = load_file(folder / MODULE_VALUES_FILE)
    steps = [EngineValues(step, arrays) for step in calls.steps[: len(continuation)]]

    def is_skipped(module: str) -> bool:
        return calls.is_coarse and find_block(module) not in {None, within}

    graph, nodes = _build_graph(truth, prepared, is_skipped)
    rounding = torch.finfo(getattr(torch, calls.dtype)).eps / (2 * math.sqrt(3))

    def run_pass(model: TransformersModel, **options: Any) -> ForcedPass:
        forced = ForcedPass(model.model, steps, is_skipped=is_skipped, **options)
        with torch.no_grad(), model.use_attention(ATTENTION):
            forced.run(lambda: model.run_continuation(prepared, continuation))
        return forced

    def measure_noises(forced: ForcedPass) -> Mapping[int, float]:
        sample = run_pass(get_sample(calls.dtype), known=forced.values)
        return _measure_noises(forced, sample, nodes, rounding)

    def find_fused() -> frozenset[int]:
        near = run_pass(truth, accept=lambda _, found: found.distance < NEAR)
        return _find_fused(near, nodes, graph, measure_noises(near))

    fused = find_fused()
    forced = run_pass(truth, accept=lambda key, _: nodes.get(key) not in fused)
    noises = measure_noises(forced)
    compared: list[ComparedValue] = []
    differences: list[ModuleDifference] = []
    modules: list[ComparedModule] = []
    for step in range(len(steps)):
        found = {key: value for key, value in forced.values.items() if key[0] == step and key[1] in nodes}
        values = {
            key: _compare(nodes[key[1]], key, value, noises[nodes[key[1]]]) for key, value in found.items()
        }
        selected, states = select_differences(list(values.values()), graph)
        keys = {id(value): key for key, value in values.items()}
        for value in selected:
            key = keys[id(value)]
            differences.append(_describe(key, value, found[key], forced.class_paths, graph, nodes))
        compared += values.values()
        if step == 0:
            modules = _list_modules(values, selected, states, forced.class_paths)
        if differences:
            break  # later steps follow from these
    agreeing = [value for value in compared if value.agrees]
    return Location(
        differences=tuple(differences),
        modules=tuple(modules),
        is_coarse=calls.is_coarse and not within,
        values=sum(value.is_shown for value in compared),
        agreeing=len(agreeing),
        largest_agreeing=max((value.limit_ratio for value in agreeing), default=0.0),
    )


def _build_graph(
    model: TransformersModel, prepared: Any, is_skipped: SkipModule
) -> tuple[ValueGraph, Mapping[ValueKey, int]]:
    builder = GraphBuilder(model.model, is_skipped)
    with model.use_attention(ATTENTION):
        graph = builder.build(lambda: model.run_prompt(prepared))
    return graph, builder.nodes


def _find_fused(
    near: ForcedPass, nodes: Mapping[ValueKey, int], graph: ValueGraph, noises: Mapping[int, float]
) -> frozenset[int]:
    """Return the values that the engine does not compute as such: fused into a kernel, or in another form.

    None of its values is near, and what the reference makes of its own agrees again.
    """
    values = [
        _compare(nodes[key[1]], key, value, noises[nodes[key[1]]])
        for key, value in near.values.items()
        if key[0] == 0 and key[1] in nodes
    ]
    hidden = {value.node for value in values} - {value.node for value in values if value.is_shown}
    return classify_nodes(values, graph).cleared & hidden


def _measure_noises(
    truth: ForcedPass, sample: ForcedPass, nodes: Mapping[ValueKey, int], rounding: float
) -> Mapping[int, float]:
    """Return the noise of each node, the largest of all steps: one row alone may agree by chance."""
    noises: dict[int, float] = {}
    for key, value in truth.values.items():
        node = nodes.get(key[1])
        if node is not None:
            measured = measure_noise(value, sample.values.get(key), rounding)
            noises[node] = max(noises.get(node, 0.0), measured)
    return noises


def _compare(node: int, key: StepKey, value: ForcedValue, noise: float) -> ComparedValue:
    found = value.counterpart
    return ComparedValue(
        node=node,
        module=key[1].module,
        side="input" if key[1].side == "input" else "output",
        distance=found.distance if found is not None else math.inf,
        noise=noise,
        is_shown=found is not None,
        counterpart=found.identity if found is not None else None,
    )


def _describe(
    key: StepKey,
    value: ComparedValue,
    forced: ForcedValue,
    class_paths: Mapping[str, str],
    graph: ValueGraph,
    nodes: Mapping[ValueKey, int],
) -> ModuleDifference:
    step, place = key
    found = forced.counterpart
    sources = graph.sources.get(value.node, frozenset())
    made_of: dict[int, str] = {}
    for other, node in nodes.items():  # a module's last child returns first
        if node in sources and other.side == "output":
            made_of.setdefault(node, other.module)
    is_attention = place.module.endswith(ATTENTION_SUFFIX)
    if place.side == "output":
        point = "attention output" if is_attention else "output"
    else:
        point = f"{'attention ' if is_attention else 'input '}{place.path}"
    rows, pattern = ((), "") if found is None else _find_pattern(found.value, forced.value, value.noise)
    return ModuleDifference(
        module=place.module.removesuffix(ATTENTION_SUFFIX),
        class_path=class_paths[place.module],
        point=point,
        made_of=tuple(made_of.values()) if place.side == "input" else (),
        engine_module=found.place.module if found is not None else "",
        engine_class_path=found.place.class_path if found is not None else "",
        distance=min(value.distance, 1e9),
        noise=value.noise,
        limit_ratio=min(value.limit_ratio, 1e9),
        rows=rows,
        pattern=pattern,
        step=step,
    )


def _find_pattern(
    engine: torch.Tensor, reference: torch.Tensor, noise: float
) -> tuple[tuple[tuple[int, int], ...], str]:
    """Return the ranges of rows that differ, empty if all do, and the form of the difference."""
    own = engine.double().reshape(-1, engine.shape[-1])
    truth = reference.cpu().double().reshape(own.shape)
    delta = own - truth
    scale = truth.square().mean().sqrt()
    differs = delta.square().mean(dim=1).sqrt() > ROW_LIMIT * noise * scale
    rows = () if bool(differs.all()) else tuple(_list_ranges(differs.tolist()))
    own, truth, delta = own[differs], truth[differs], delta[differs]
    size = delta.square().mean().sqrt()
    if not (len(own) and size > 0):
        return rows, ""

    def explains(candidate: torch.Tensor) -> bool:
        return bool((own - candidate).square().mean().sqrt() <= _SMALL * size)

    factor = float((own * truth).sum() / truth.square().sum())
    if explains(truth * factor):
        return rows, f"scaled by {factor:.4g}"
    if len(own) > 1:
        if explains(truth + delta.mean(dim=0)):
            return rows, "the same offset in every row"
        if explains(truth * ((own * truth).sum(dim=0) / truth.square().sum(dim=0))):
            return rows, "another factor in each column"
    if own.shape[1] > 1 and explains(truth * ((own * truth).sum(dim=1) / truth.square().sum(dim=1))[:, None]):
        return rows, "another factor in each row"
    return rows, ""


def _list_ranges(flags: Sequence[bool]) -> list[tuple[int, int]]:
    ranges = []
    for flag, group in groupby(enumerate(flags), key=lambda item: item[1]):
        indices = [index for index, _ in group]
        if flag:
            ranges.append((indices[0], indices[-1]))
    return ranges


def _list_modules(
    values: Mapping[StepKey, ComparedValue],
    selected: Sequence[ComparedValue],
    states: NodeStates,
    class_paths: Mapping[str, str],
) -> list[ComparedModule]:
    """Return every module with outputs of its own, in the order of computation."""
    chosen = {value.module for value in selected}
    by_module: dict[str, list[ComparedValue]] = {}
    for key, value in values.items():
        by_module.setdefault(key[1].module, []).append(value)
    modules = []
    for name, found in by_module.items():
        shown = [value for value in found if value.node in states.agreeing or value in selected]
        status = "differs" if name in chosen else "agrees" if shown else "not shown"
        modules.append(
            ComparedModule(
                module=name,
                class_path=class_paths[name],
                status=status,
                limit_ratio=max((min(value.limit_ratio, 1e9) for value in shown), default=None),
            )
        )
    return modules
