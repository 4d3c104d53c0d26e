"""Module calls: the floating-point inputs and outputs of a model's modules on one prompt.

A folder holds the record and its arrays, as a trace does.
"""

from __future__ import annotations

from pathlib import Path

from vlm_parity.schema.engine_setup import Dtype
from vlm_parity.schema.record import Record, read_record

MODULE_CALLS_FILE = "module_calls.json"
MODULE_VALUES_FILE = "module_values.safetensors"
MODULE_CALLS_SCHEMA = 1


class RecordedValue(Record):
    """One tensor among the arguments or results of a call."""

    path: str
    """Its place, such as ``[0]`` or ``.hidden_states``; empty if it is the whole result."""
    array: str
    """Name of the array that holds it; equal tensors share one."""


class ModuleCall(Record):
    """One call of one module."""

    module: str
    """Its name, as in ``named_modules``."""
    class_path: str
    """Module and name of its class: ``torch.nn.modules.linear.Linear``."""
    inputs: tuple[RecordedValue, ...] = ()
    outputs: tuple[RecordedValue, ...] = ()


class ModuleCalls(Record):
    """The calls of a forced request: those of the prompt, then those of each decoding step."""

    schema_version: int = MODULE_CALLS_SCHEMA
    input_ids: tuple[int, ...]
    """Of the prompt."""
    dtype: Dtype
    """In which the engine computed."""
    is_coarse: bool = False
    """True if the modules inside of blocks are left out, or those of all blocks but one."""
    steps: tuple[tuple[ModuleCall, ...], ...]
    """The first is the prompt, joined if it was split. Each in the order in which the calls began."""


def read_module_calls(folder: Path) -> ModuleCalls:
    """Read the record.

    Raises:
        RecordError: the folder does not hold one.
    """
    return read_record(folder / MODULE_CALLS_FILE, ModuleCalls)
