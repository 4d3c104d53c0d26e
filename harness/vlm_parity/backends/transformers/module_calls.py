"""Hooks on the modules and on the attention function of a transformers model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vlm_parity.backends.common.module_recorder import MIN_VALUES, find_leaves, get_class_path

ATTENTION = "sdpa"
"""The attention implementation whose inputs and outputs are values of their own."""
ATTENTION_SUFFIX = "::attention"
LOGITS = "logits"
"""Stands for the model as a whole."""
_COMPARED_ARGUMENTS = ("hidden_states", "inputs_embeds")
"""Keyword arguments that carry a model's values; others are tables and masks."""


@dataclass(frozen=True)
class ValueKey:
    """The place of a value in one run of a model."""

    module: str
    """Name of the module; with ``::attention`` behind it for its attention function."""
    call: int
    side: str
    """``input`` or ``output``."""
    path: str
    """Of an input: its place among the arguments."""


Visit = Callable[[ValueKey, torch.Tensor], torch.Tensor]
"""Receives each value as it is computed; returns the one to go on with, if it is an input."""
SkipModule = Callable[[str], bool]


class ModuleHooks:
    """Calls a function with every value of a model, in the order of computation."""

    def __init__(
        self, model: torch.nn.Module, visit: Visit, is_skipped: SkipModule = lambda _: False
    ) -> None:
        """Name the modules.

        Args:
            model: of the reference, with attention ``sdpa``.
            visit: called with every input and output.
            is_skipped: returns whether a module is left out.
        """
        self._model, self._visit = model, visit
        self.class_paths: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._calls: Counter[str] = Counter()
        self.class_paths[LOGITS] = get_class_path(model)
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.nn.ModuleList) and not is_skipped(name):
                self._names.setdefault(id(module), name)
                self.class_paths.setdefault(name, get_class_path(module))

    def restart(self) -> None:
        """Count calls from 0 again."""
        self._calls.clear()

    @contextmanager
    def install(self) -> Iterator[None]:
        """Install the hooks until the block ends."""
        with ExitStack() as stack:
            for module in self._model.modules():
                if id(module) in self._names:
                    for handle in (
                        module.register_forward_pre_hook(self._visit_inputs, with_kwargs=True),
                        module.register_forward_hook(self._visit_output),
                    ):
                        stack.callback(handle.remove)
            stack.callback(self._model.register_forward_hook(self._visit_logits).remove)
            plain = ALL_ATTENTION_FUNCTIONS[ATTENTION]
            stack.callback(ALL_ATTENTION_FUNCTIONS.register, ATTENTION, plain)
            ALL_ATTENTION_FUNCTIONS.register(ATTENTION, self._wrap_attention(plain))
            yield

    def _visit_inputs(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        name = self._names[id(module)]
        call = self._calls[name]
        changed = list(args)
        for index, value in enumerate(args):
            if is_compared(value):
                changed[index] = self._visit(ValueKey(name, call, "input", f"[{index}]"), value)
        changed_kwargs = dict(kwargs)
        for argument in _COMPARED_ARGUMENTS:
            if is_compared(value := kwargs.get(argument)):
                changed_kwargs[argument] = self._visit(ValueKey(name, call, "input", argument), value)
        return tuple(changed), changed_kwargs

    def _visit_output(self, module: Any, _args: tuple[Any, ...], result: Any) -> None:
        name = self._names[id(module)]
        self._visit_result(ValueKey(name, self._calls[name], "output", ""), result)
        self._calls[name] += 1

    def _visit_logits(self, _module: Any, _args: tuple[Any, ...], result: Any) -> None:
        """Visit the result of the model, which may be more than that of its head: a cap, or a scale."""
        self._visit_result(ValueKey(LOGITS, 0, "output", ""), result)

    def _visit_result(self, key: ValueKey, result: Any) -> None:
        """Visit the first tensor of a result, if it has one."""
        for _, first in islice(find_leaves(result), 1):
            self._visit(key, first)

    def _wrap_attention(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def attend(
            module: Any,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            owner = self._names.get(id(module))
            if owner is None:
                return plain(module, query, key, value, *args, **kwargs)
            name = owner + ATTENTION_SUFFIX
            self.class_paths[name] = self.class_paths[owner]
            call = self._calls[name]
            given = []
            for argument, tensor in (("query", query), ("key", key), ("value", value)):
                cached, new = tensor[:, :, : -query.shape[2]], tensor[:, :, -query.shape[2] :]
                rows = new.transpose(1, 2).flatten(2)
                rows = self._visit(ValueKey(name, call, "input", argument), rows)
                new = rows.unflatten(2, (tensor.shape[1], tensor.shape[3])).transpose(1, 2)
                given.append(torch.cat([cached, new], dim=2) if cached.shape[2] else new)
            result = plain(module, *given, *args, **kwargs)
            self._visit(ValueKey(name, call, "output", ""), result[0].flatten(2))
            self._calls[name] += 1
            return result

        return attend


def is_compared(value: Any) -> bool:
    """Return whether a value is a tensor of numbers to compare."""
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() >= MIN_VALUES
