"""Inputs and outputs of every module of an engine's model, recorded by forward hooks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_parity.backends.common.module_blocks import find_block
from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.schema.module_calls import (
    MODULE_CALLS_FILE,
    MODULE_VALUES_FILE,
    ModuleCall,
    ModuleCalls,
    RecordedValue,
)
from vlm_parity.schema.record import write_record
from vlm_parity.util.errors import UnsupportedError

if TYPE_CHECKING:
    import torch

MAX_RECORDED_BYTES = 2**30
_MAX_COLUMNS = 20_000
"""Of wider tensors, the logits, only the last row is recorded."""
_MAX_NESTING = 3
MIN_VALUES = 16
"""Smaller tensors agree by chance, or hold settings."""

_CACHE = re.compile(r"cache|past_key_value")
"""Names of arguments that hold the key/value cache."""

Leaves = dict[str, "torch.Tensor"]


def find_leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the floating-point tensors in arguments or results, each with its place."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point() and value.numel() >= MIN_VALUES:
            yield path, value
    elif depth < _MAX_NESTING:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from find_leaves(item, f"{path}.{key}", depth + 1)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from find_leaves(item, f"{path}[{index}]", depth + 1)


def get_class_path(module: torch.nn.Module) -> str:
    """Return the module and the name of a module's class."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _name_arguments(
    module_class: type[torch.nn.Module], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, without the key/value cache, which may fill the memory."""
    names = _list_parameters(module_class.forward)
    named = {**{names.get(index, f"[{index}]"): value for index, value in enumerate(args)}, **kwargs}
    return {name: value for name, value in named.items() if not _CACHE.search(name)}


@cache
def _list_parameters(forward: Callable[..., Any]) -> Mapping[int, str]:
    parameters = list(signature(forward).parameters.values())[1:]  # without self
    return {
        index: parameter.name
        for index, parameter in enumerate(parameters)
        if parameter.kind is not parameter.VAR_POSITIONAL
    }


@dataclass
class _Call:
    module: str
    class_path: str
    inputs: Leaves
    outputs: Leaves = field(default_factory=dict)

    def count_bytes(self) -> int:
        """Return the size of all tensors."""
        return sum(tensor.nbytes for tensor in (*self.inputs.values(), *self.outputs.values()))


@dataclass(frozen=True)
class StepRows:
    """The rows of the recorded request in a step, which may run other requests, too."""

    first: int
    """Position of the first row in the sequence."""
    start: int
    """Index of the first row among all rows of the step."""
    count: int
    total: int
    """Rows of all requests in the step."""


class ModuleRecorder:
    """Records the calls of a model, step by step, while ``is_active`` is set.

    Compiled and captured graphs call no hooks, so the engine has to run eagerly. If the values of all modules
    exceed the limit, only those of whole blocks and outside of blocks are kept.
    """

    def __init__(self, model: torch.nn.Module, within: str = "") -> None:
        """Add hooks to every module of a model; ``close`` removes them.

        Args:
            model: of the engine.
            within: name of the only block whose modules are recorded; empty for every block, if they fit.
        """
        self._within = within
        self._is_coarse = bool(within)
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._names.setdefault(id(module), name)
        self._handles: list[Any] = []
        for module in {id(module): module for module in model.modules()}.values():
            self._handles += [
                module.register_forward_pre_hook(self._add_call, with_kwargs=True),
                module.register_forward_hook(self._complete_call),
            ]
        self._open: list[_Call] = []
        self._step: list[_Call] = []
        self._steps: list[tuple[StepRows, list[_Call]]] = []
        self._kept_bytes = self._step_bytes = 0
        self.is_active = False
        self.error: Exception | None = None
        """The error that ended the recording; an engine must not see it, for its loop may end with it."""

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def begin_step(self) -> None:
        """Start a step; calls since the last ``end_step`` are discarded."""
        self._open, self._step, self._step_bytes = [], [], 0
        self.is_active = True

    def end_step(self, rows: StepRows) -> None:
        """Keep the calls of the step: later calls belong to it until the next one begins."""
        self._steps.append((rows, self._step))
        self._kept_bytes, self._step_bytes = self._kept_bytes + self._step_bytes, 0

    def _add_call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._is_recorded(module):
            return
        try:
            # Engines compute in place, so arguments are copied before the call.
            arguments = _name_arguments(type(module), args, kwargs)
            call = _Call(self._names[id(module)], get_class_path(module), self._copy(arguments))
            if self._is_recorded(module):  # the limit may have been reached meanwhile
                self._open.append(call)
                self._step.append(call)
        except Exception as error:
            self.error = error

    def _complete_call(self, module: Any, _args: tuple[Any, ...], result: Any) -> None:
        if not self._is_recorded(module):
            return
        try:
            name = self._names[id(module)]
            while self._open:  # calls that raised are still open
                call = self._open.pop()
                if call.module == name:
                    call.outputs = self._copy(result)
                    return
        except Exception as error:
            self.error = error

    def _copy(self, value: Any) -> Leaves:
        copies = {}
        for path, leaf in find_leaves(value):
            tensor = leaf.detach()
            if tensor.shape[-1] > _MAX_COLUMNS:
                tensor = tensor.reshape(-1, tensor.shape[-1])[-1:]
            self._step_bytes += tensor.nbytes
            if self._kept_bytes + self._step_bytes > MAX_RECORDED_BYTES:
                self._drop_inner_calls()
            copies[path] = tensor.to("cpu", copy=True).contiguous()
        return copies

    def _is_recorded(self, module: Any) -> bool:
        if not self.is_active or self.error is not None:
            return False
        return not (self._is_coarse and self._is_inner(self._names[id(module)]))

    def _is_inner(self, name: str) -> bool:
        """Return whether a module is inside of a block other than the one to record."""
        return find_block(name) not in {None, self._within}

    def _drop_inner_calls(self) -> None:
        """Keep the values of whole blocks only.

        Raises:
            UnsupportedError: they exceed the limit, too.
        """
        for calls in (self._open, self._step, *(calls for _, calls in self._steps)):
            calls[:] = [call for call in calls if not self._is_inner(call.module)]
        self._kept_bytes = sum(call.count_bytes() for _, calls in self._steps for call in calls)
        self._step_bytes = sum(call.count_bytes() for call in self._step)
        if self._is_coarse or self._kept_bytes + self._step_bytes > MAX_RECORDED_BYTES:
            raise UnsupportedError(
                f"the blocks return more than {MAX_RECORDED_BYTES / 2**30:g} GiB on this prompt: locate the "
                "difference on a shorter case or a smaller checkpoint"
            )
        self._is_coarse = True

    def write(self, folder: Path, input_ids: tuple[int, ...], dtype: Dtype) -> None:
        """Write the record and its arrays.

        Args:
            folder: of the recording; created if it does not exist.
            input_ids: of the prompt.
            dtype: in which the engine computed.

        Raises:
            UnsupportedError: no call was recorded, or there was too much to record.
            Exception: a hook failed.
        """
        from safetensors.torch import save_file

        if self.error is not None:
            raise self.error
        prompt = len(input_ids)
        pieces = [step for step in self._steps if step[0].first < prompt]
        if pieces and pieces[0][0].first:
            raise UnsupportedError("the start of the prompt came from a cache, so no module ran on its rows")
        joined = [_join_pieces(pieces), *(_select_rows(*step) for step in self._steps[len(pieces) :])]
        if not joined[0]:
            raise UnsupportedError("no module was called: the engine runs a compiled or captured graph")
        arrays: dict[str, torch.Tensor] = {}
        steps = tuple(tuple(_build_call(call, arrays) for call in calls) for calls in joined)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(arrays, folder / MODULE_VALUES_FILE)
        calls = ModuleCalls(input_ids=input_ids, dtype=dtype, steps=steps, is_coarse=self._is_coarse)
        write_record(folder / MODULE_CALLS_FILE, calls)


def _select_rows(rows: StepRows, calls: list[_Call]) -> list[_Call]:
    """Return the calls of a step with the rows of the recorded request only."""
    if rows.count == rows.total:
        return calls

    def select(leaves: Leaves) -> Leaves:
        return {path: _select_tensor_rows(tensor, rows) for path, tensor in leaves.items()}

    return [_Call(call.module, call.class_path, select(call.inputs), select(call.outputs)) for call in calls]


def _select_tensor_rows(tensor: torch.Tensor, rows: StepRows) -> torch.Tensor:
    """Return the request's rows of a tensor that has rows of all requests."""
    axis = _find_row_axis(tensor, rows.total)
    return tensor if axis is None else tensor.narrow(axis, rows.start, rows.count).contiguous()


def _find_row_axis(tensor: torch.Tensor, rows: int) -> int | None:
    """Return which of the first two axes has one entry for each row; the last axis has none."""
    is_batched = tensor.ndim > 2 and tensor.shape[0] == 1  # noqa: PLR2004
    axes = (1, 0) if is_batched else range(min(2, tensor.ndim - 1))
    return next((axis for axis in axes if tensor.shape[axis] == rows), None)


def _join_pieces(pieces: list[tuple[StepRows, list[_Call]]]) -> list[_Call]:
    """Return the calls of a prompt that ran in pieces, with the rows of all pieces in their tensors."""
    if len(pieces) == 1:
        return _select_rows(*pieces[0])
    joined: dict[tuple[str, int], list[tuple[StepRows, _Call]]] = {}
    for rows, calls in pieces:
        numbers: dict[str, int] = {}
        for call in _select_rows(rows, calls):
            number = numbers[call.module] = numbers.get(call.module, -1) + 1
            joined.setdefault((call.module, number), []).append((rows, call))
    calls = []
    for parts in joined.values():
        has_rows = any(_has_rows(rows, call) for rows, call in parts)
        calls += [_join_calls(parts)] if has_rows else [call for _, call in parts]
    return calls


def _has_rows(rows: StepRows, call: _Call) -> bool:
    """Return whether a tensor of a call has rows of the prompt; those of a tower have not."""
    leaves = (*call.inputs.values(), *call.outputs.values())
    return any(_find_row_axis(tensor, rows.count) is not None for tensor in leaves)


def _join_calls(parts: list[tuple[StepRows, _Call]]) -> _Call:
    first = parts[0][1]
    return _Call(
        first.module,
        first.class_path,
        _join_leaves([(rows, call.inputs) for rows, call in parts]),
        _join_leaves([(rows, call.outputs) for rows, call in parts]),
    )


def _join_leaves(parts: list[tuple[StepRows, Leaves]]) -> Leaves:
    """Return tensors with the rows of all pieces; of one without rows the last."""
    import torch

    result = {}
    for path in parts[0][1]:
        tensors = [leaves[path] for _, leaves in parts if path in leaves]
        axes = {_find_row_axis(leaves[path], rows.count) for rows, leaves in parts if path in leaves}
        (axis,) = axes if len(axes) == 1 else (None,)
        result[path] = tensors[-1] if axis is None else torch.cat(tensors, dim=axis)
    return result


def _build_call(call: _Call, arrays: dict[str, torch.Tensor]) -> ModuleCall:
    """Return the record of a call, and add its tensors, each kept once."""

    def add(leaves: Leaves) -> tuple[RecordedValue, ...]:
        values = []
        for path, tensor in leaves.items():
            name = _compute_digest(tensor)
            arrays.setdefault(name, tensor)
            values.append(RecordedValue(path=path, array=name))
        return tuple(values)

    return ModuleCall(
        module=call.module, class_path=call.class_path, inputs=add(call.inputs), outputs=add(call.outputs)
    )


def _compute_digest(tensor: torch.Tensor) -> str:
    import torch

    content = tensor.reshape(-1).view(torch.uint8).numpy()  # numpy has no bfloat16
    form = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.blake2b(form + content.tobytes(), digest_size=16).hexdigest()
