"""Selection of differing modules in handmade flows of data."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.diff.module_differences import (
    ComparedValue,
    Side,
    ValueGraph,
    classify_nodes,
    select_differences,
)

FAR, EQUAL = 0.5, 1e-9


def value(
    node: int, module: str, side: Side = "output", *, differs: bool = False, shown: bool = True
) -> ComparedValue:
    return ComparedValue(node, module, side, FAR if differs else EQUAL, 1e-7, shown)


def chain(count: int, *edges: tuple[int, int]) -> ValueGraph:
    """Return a graph in which each node is made of the one before, and of further ones."""
    sources = {node: {node - 1} if node else set() for node in range(count)}
    for source, target in edges:
        sources[target].add(source)
    return ValueGraph({node: frozenset(found) for node, found in sources.items()})


def names(values: list[ComparedValue], graph: ValueGraph) -> list[str]:
    return [found.module for found in select_differences(values, graph)[0]]


def test_a_module_with_another_output_is_selected() -> None:
    values = [value(0, "a"), value(1, "act", differs=True), value(2, "b")]
    # b received the engine's inputs, so its output agrees; but act's output is also b's input.
    values.insert(2, value(1, "b", "input", differs=True))
    assert names(values, chain(3)) == ["act"]


def test_an_output_that_is_near_is_not_cleared_by_a_sum_in_which_it_is_small() -> None:
    small = ComparedValue(1, "o_proj", "output", 0.05, 1e-7, is_shown=True)
    assert names([value(0, "a"), small, value(2, "norm", "input")], chain(3)) == ["o_proj"]


def test_an_output_that_no_module_receives_is_cleared_by_what_is_made_of_it() -> None:
    values = [value(0, "gate"), value(1, "act", differs=True), value(2, "down", "input")]
    assert names(values, chain(3)) == []


def test_an_output_whose_only_counterpart_is_what_is_made_from_it_is_cleared() -> None:
    head = ComparedValue(1, "lm_head", "output", 0.001, 1e-7, is_shown=True, counterpart=7)
    capped = ComparedValue(2, "logits", "output", EQUAL, 1e-7, is_shown=True, counterpart=7)
    assert names([value(0, "a"), head, capped], chain(3)) == []
    other = ComparedValue(2, "logits", "output", EQUAL, 1e-7, is_shown=True, counterpart=8)
    assert names([value(0, "a"), head, other], chain(3)) == ["lm_head"]


def test_two_independent_differences_are_both_selected() -> None:
    values = [
        value(0, "a", differs=True),
        value(0, "b", "input", differs=True),
        value(1, "b"),
        value(2, "c", differs=True),
        value(2, "d", "input", differs=True),
    ]
    assert names(values, chain(3)) == ["a", "c"]


def test_a_container_is_left_out_if_a_module_inside_differs() -> None:
    values = [value(0, "mlp.act", differs=True), value(1, "mlp", differs=True)]
    assert names(values, chain(2)) == ["mlp.act"]


def test_an_input_that_is_computed_inline_is_selected() -> None:
    values = [value(0, "a"), value(1, "b", "input", differs=True)]
    assert names(values, chain(2)) == ["b"]


def test_an_input_that_follows_from_a_difference_is_left_out() -> None:
    values = [value(0, "a", differs=True), value(1, "b", "input", differs=True)]
    assert names(values, chain(2)) == ["a"]


def test_hidden_values_that_lead_to_an_agreeing_one_are_cleared() -> None:
    values = [value(0, "tower.a", shown=False), value(1, "tower.b", shown=False), value(2, "text", "input")]
    assert names(values, chain(3)) == []


def test_a_hidden_value_that_leads_nowhere_right_is_selected() -> None:
    values = [
        value(0, "a"),
        value(1, "b", shown=False),
        value(2, "c", shown=False),
        value(3, "d", differs=True),
    ]
    assert names(values, chain(4)) == ["b"]


def test_tables_that_the_engine_does_not_show_are_no_difference() -> None:
    graph = ValueGraph({0: frozenset(), 1: frozenset()}, untracked=frozenset({1}))
    assert names([value(0, "a"), value(1, "rotary", shown=False)], graph) == []


def test_a_hidden_value_that_goes_nowhere_is_no_difference() -> None:
    graph = ValueGraph({0: frozenset(), 1: frozenset({0})}, unused=frozenset({1}))
    assert names([value(0, "a"), value(1, "last_norm", shown=False)], graph) == []


def test_a_table_that_differs_is_selected() -> None:
    graph = ValueGraph({0: frozenset()}, untracked=frozenset({0}))
    assert names([value(0, "rotary", differs=True)], graph) == ["rotary"]


def test_the_inputs_of_the_model_are_not_judged() -> None:
    graph = ValueGraph({0: frozenset()}, untracked=frozenset({0}))
    assert names([value(0, "tower", "input", differs=True)], graph) == []


def test_a_distance_within_the_limit_of_its_noise_agrees() -> None:
    assert ComparedValue(0, "a", "output", 3.9e-7, 1e-7, is_shown=True).agrees
    assert not ComparedValue(0, "a", "output", 4.0e-7, 1e-7, is_shown=True).agrees
    assert not ComparedValue(0, "a", "output", 0.0, 1e-7, is_shown=False).agrees


@given(st.integers(2, 30), st.data())
def test_exactly_the_planted_modules_of_a_forced_pass_are_selected(count: int, data: st.DataObject) -> None:
    planted = data.draw(st.sets(st.integers(0, count - 1)))
    values = []
    for node in range(count):
        values.append(value(node, f"m{node}", differs=node in planted))
        if node + 1 < count:  # given to the next module as it is
            values.append(value(node, f"m{node + 1}", "input", differs=node in planted))
    assert names(values, chain(count)) == [f"m{node}" for node in sorted(planted)]


@given(st.integers(1, 20), st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_every_node_has_one_state(count: int, differing: set[int], hidden: set[int]) -> None:
    values = [
        value(node, f"m{node}", differs=node in differing, shown=node not in hidden) for node in range(count)
    ]
    states = classify_nodes(values, chain(count))
    parts = (states.agreeing, states.cleared, states.differing)
    assert set().union(*parts) == set(range(count))
    assert all(not left & right for left, right in pairwise((*parts, parts[0])))
