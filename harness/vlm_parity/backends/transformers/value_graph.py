"""The flow of data between the values of a transformers model, from the graph of autograd."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch

from vlm_parity.backends.transformers.module_calls import ModuleHooks, SkipModule, ValueKey
from vlm_parity.diff.module_differences import ValueGraph


class GraphBuilder:
    """Builds the graph from one run with gradients; equal values are one node."""

    def __init__(self, model: torch.nn.Module, is_skipped: SkipModule = lambda _: False) -> None:
        self._model, self._is_skipped = model, is_skipped
        self.nodes: dict[ValueKey, int] = {}
        self._by_content: dict[bytes, int] = {}
        self._functions: dict[int, set[Any]] = {}
        self._by_function: dict[Any, int] = {}

    def build(self, run: Callable[[], torch.Tensor]) -> ValueGraph:
        """Return the graph of a run.

        Args:
            run: runs the model once and returns its logits; gradients are enabled while it does.
        """
        hooks = ModuleHooks(self._model, self._visit, self._is_skipped)
        parameters = list(self._model.parameters())
        required = [parameter.requires_grad for parameter in parameters]
        try:
            for parameter in parameters:
                parameter.requires_grad_(parameter.is_floating_point())
            with torch.enable_grad(), hooks.install():
                logits = run()
        finally:
            for parameter, is_required in zip(parameters, required, strict=True):
                parameter.requires_grad_(is_required)
        nodes = range(len(self._by_content))
        sources = {node: self._find_sources(self._functions.get(node, ()), node) for node in nodes}
        untracked = frozenset(node for node in nodes if node not in self._functions)
        used = set(self._find_sources([logits.grad_fn], None))
        pending = list(used)
        while pending:
            new = sources[pending.pop()] - used
            used |= new
            pending += new
        return ValueGraph(sources, untracked, unused=frozenset(nodes) - used - untracked)

    def _visit(self, key: ValueKey, value: torch.Tensor) -> torch.Tensor:
        content = value.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes()
        digest = hashlib.blake2b(content, digest_size=16).digest()
        node = self._by_content.setdefault(digest, len(self._by_content))
        self.nodes[key] = node
        if value.grad_fn is not None:
            self._functions.setdefault(node, set()).add(value.grad_fn)
            self._by_function[value.grad_fn] = node
        return value

    def _find_sources(self, functions: Iterable[Any], node: int | None) -> frozenset[int]:
        """Walk back from the functions of a value to the recorded values nearest to it.

        Args:
            functions: of the value.
            node: of the value; None if it is not recorded, and one of the functions may be a recorded one's.
        """
        pending = list(functions)
        found = {self._by_function[each] for each in pending if node is None and each in self._by_function}
        seen = set(pending)
        while pending:
            for function, _ in pending.pop().next_functions:
                if function is None or function in seen:
                    continue
                seen.add(function)
                source = self._by_function.get(function)
                if source is not None and source != node:
                    found.add(source)
                else:
                    pending.append(function)
        return frozenset(found)
