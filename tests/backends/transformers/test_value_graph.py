"""The flow of data in a small model, from autograd."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from vlm_parity.backends.transformers.module_calls import ValueKey
from vlm_parity.backends.transformers.value_graph import GraphBuilder

WIDTH = 8


class Block(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A residual block: ``x + b(a(x))``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Any) -> Any:
        self.d(x)
        return self.c(x + self.b(self.a(x)))


def key(module: str, side: str = "output") -> ValueKey:
    return ValueKey(module, 0, side, "[0]" if side == "input" else "")


def test_each_value_has_the_values_that_it_is_made_of() -> None:
    torch.manual_seed(0)
    model = Block()
    builder = GraphBuilder(model)
    rows = torch.randn(4, WIDTH, requires_grad=True) * 1
    graph = builder.build(lambda: model(rows))
    node = builder.nodes
    assert graph.sources[node[key("a")]] == {node[key("a", "input")]}
    assert graph.sources[node[key("b")]] == {node[key("a")]}
    assert graph.sources[node[key("c", "input")]] == {node[key("a", "input")], node[key("b")]}
    assert node[key("b", "input")] == node[key("a")]
    assert not graph.untracked
    assert graph.unused == {node[key("d")]}


def test_values_without_gradients_are_untracked() -> None:
    model = Block()
    builder = GraphBuilder(model)
    graph = builder.build(lambda: model(torch.randn(4, WIDTH)))
    assert graph.untracked == {builder.nodes[key("a", "input")]}


def test_parameters_are_as_before() -> None:
    model = Block().requires_grad_(requires_grad=False)
    GraphBuilder(model).build(lambda: model(torch.randn(4, WIDTH)))
    assert not any(parameter.requires_grad for parameter in model.parameters())
