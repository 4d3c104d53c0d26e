"""Selection of the values that an engine computes differently, from the distances of a forced pass.

In a forced pass each module of the reference receives the engine's inputs, so every distance is the error of
one module, or of the code between two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vlm_parity.diff.noise_tolerance import ROW_LIMIT

NEAR = 0.1
"""The largest distance of a counterpart that is recognized by its numbers alone; unrelated values are 0.5 to
1.5 apart."""
Side = Literal["input", "output"]


@dataclass(frozen=True)
class ComparedValue:
    """One value of the reference, compared with the engine's nearest one."""

    node: int
    """The value in the graph: equal values are one node."""
    module: str
    side: Side
    distance: float
    """Root mean square of the difference, as a fraction of the reference's value."""
    noise: float
    """The same of the reference in the engine's dtype, at least that of one rounding."""
    is_shown: bool
    """False if the engine has no value of this shape that is near by value or by name."""
    counterpart: int | None = None
    """Identity of the engine's value; one may be the counterpart of several."""

    @property
    def limit_ratio(self) -> float:
        """The distance as a fraction of the limit for one row of a stage."""
        return self.distance / (ROW_LIMIT * self.noise)

    @property
    def agrees(self) -> bool:
        """True if the distance is within the limit."""
        return self.is_shown and self.limit_ratio <= 1


@dataclass(frozen=True)
class ValueGraph:
    """The flow of data between the values of a model."""

    sources: Mapping[int, frozenset[int]]
    """The nodes of which each node is computed directly. Nodes are numbered in the order of computation."""
    untracked: frozenset[int] = frozenset()
    """Tables and model inputs: nothing is known of where they go."""
    unused: frozenset[int] = frozenset()
    """Values that do not enter the logits, so an engine need not compute them."""

    def find_targets(self) -> Mapping[int, frozenset[int]]:
        """Return the nodes that are computed from each node directly."""
        targets: dict[int, set[int]] = defaultdict(set)
        for node, sources in self.sources.items():
            for source in sources:
                targets[source].add(node)
        return {node: frozenset(found) for node, found in targets.items()}


@dataclass(frozen=True)
class NodeStates:
    """The conclusion on each compared node."""

    agreeing: frozenset[int]
    cleared: frozenset[int]
    """Nodes without a counterpart as such, whose direct or hidden results agree."""
    differing: frozenset[int]


def classify_nodes(values: Sequence[ComparedValue], graph: ValueGraph) -> NodeStates:
    """Classify the nodes of a forced pass.

    A value without a near counterpart of its own is cleared if no module receives it as it is, so the engine
    may never compute it, and something that is made from it agrees. A hidden value was not replaced: it is
    cleared if it leads to an agreeing value through hidden ones, if nothing is known of where it goes, or if
    it goes nowhere. The inputs of the model are compared at an earlier stage.
    """
    by_node: dict[int, list[ComparedValue]] = defaultdict(list)
    for value in values:
        by_node[value.node].append(value)
    agreeing = {node for node, found in by_node.items() if all(value.agrees for value in found)}
    hidden = {node for node, found in by_node.items() if not any(value.is_shown for value in found)}
    outputs = {value.node for value in values if value.side == "output"}
    targets = graph.find_targets()
    model_inputs = graph.untracked & (by_node.keys() - outputs)
    cleared = set(((graph.untracked | graph.unused) & hidden) | model_inputs) - agreeing
    for node in sorted(by_node.keys() - agreeing, reverse=True):  # results before their sources
        made = targets.get(node, frozenset())
        found = by_node[node]
        agreeing_made = {value.counterpart for target in made & agreeing for value in by_node[target]} - {
            None
        }
        is_output_only = all(
            value.side == "output" and (value.distance >= NEAR or value.counterpart in agreeing_made)
            for value in found
        )
        leads_on = node in hidden and made & cleared & hidden
        if leads_on or ((node in hidden or is_output_only) and made & agreeing):
            cleared.add(node)
    differing = by_node.keys() - agreeing - cleared
    return NodeStates(frozenset(agreeing), frozenset(cleared), frozenset(differing))


def select_differences(
    values: Sequence[ComparedValue], graph: ValueGraph
) -> tuple[list[ComparedValue], NodeStates]:
    """Select one value for each independent difference, in the order of computation.

    Left out are inputs that follow from a difference already selected, containers of a selected module, and
    hidden values behind a difference.
    """
    states = classify_nodes(values, graph)
    by_node: dict[int, list[ComparedValue]] = defaultdict(list)
    for value in values:
        if value.node in states.differing:
            by_node[value.node].append(value)
    hidden = {node for node, found in by_node.items() if not any(value.is_shown for value in found)}
    outputs = {value.module for found in by_node.values() for value in found if value.side == "output"}
    selected = []
    for node in sorted(by_node):
        found = by_node[node]
        output = next((value for value in found if value.side == "output"), None)
        shown = [value for value in found if value.is_shown]
        differing = graph.sources.get(node, frozenset()) & states.differing
        # A source without a counterpart was not replaced, so its error goes on.
        if differing & hidden or (differing and not (shown and output is not None)):
            continue
        if output is not None and any(name.startswith(f"{output.module}.") for name in outputs):
            continue
        candidates = shown or found
        selected.append(max(candidates, key=lambda value: (value.side == "output", value.limit_ratio)))
    return selected, states
