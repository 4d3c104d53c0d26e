"""Exact values of a trace, by the names that replays use.

``input_ids[15:103]``, ``positions.time[4:8]``, ``prompt_tokens`` (their number), and ``encoder_budget``: the
tokens that an engine reserves for its largest medium; in the reference, the tokens that this medium has.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vlm_parity.schema.trace import Trace
from vlm_parity.schema.trace_arrays import open_arrays
from vlm_parity.util.errors import MissingValueError

AXES = ("time", "height", "width")
_NAME = re.compile(
    r"(?P<value>input_ids|positions\.(?P<axis>time|height|width)|prompt_tokens|encoder_budget)"
    r"(\[(?P<start>-?\d*):(?P<stop>-?\d*)(:(?P<step>\d+))?\])?"
)
_SHOWN = 12
Number = int | float


def check_name(name: str) -> str:
    """Return the name.

    Raises:
        MissingValueError: the name is invalid; the message lists the valid ones.
    """
    if _NAME.fullmatch(name) is None:
        raise MissingValueError(
            f"{name!r} is none of input_ids[start:stop], positions.time[start:stop:step] (or .height, "
            ".width), prompt_tokens, encoder_budget"
        )
    return name


def read_values(name: str, trace: Trace, folder: Path) -> tuple[Number, ...]:
    """Read values of a trace.

    Args:
        name: as in ``check_name``.
        trace: a trace of either side.
        folder: the folder of its arrays.

    Raises:
        MissingValueError: the trace has no such value.
    """
    match = _NAME.fullmatch(check_name(name))
    assert match is not None
    selection = slice(*(int(match[key]) if match[key] else None for key in ("start", "stop", "step")))
    if match["value"] == "prompt_tokens":
        return (len(_get_ids(trace)),)
    if match["value"] == "encoder_budget":
        return (_get_encoder_budget(trace),)
    values = _get_ids(trace) if match["axis"] is None else _read_positions(match["axis"], trace, folder)
    return values[selection]


def _get_ids(trace: Trace) -> tuple[int, ...]:
    if trace.input_ids is None:
        raise MissingValueError(f"{trace.backend} has no input_ids: {trace.outcome}: {trace.message}")
    return trace.input_ids


def _get_encoder_budget(trace: Trace) -> int:
    """Return the tokens that an engine reserves for its largest medium; of the reference, their number."""
    if trace.encoder_budget is not None:
        return trace.encoder_budget.tokens
    return sum(span.embedded for span in trace.spans or ())


def _read_positions(axis: str, trace: Trace, folder: Path) -> tuple[Number, ...]:
    with open_arrays(folder) as tensors:
        if tensors is None or "positions" not in tensors:
            raise MissingValueError(f"{trace.backend} has no positions")
        positions: np.ndarray = tensors.read("positions")
    row = positions[AXES.index(axis) if len(positions) > 1 else 0]
    return tuple(row.tolist())


def expand_expected(expected: Number | tuple[Number, ...], count: int) -> tuple[Number, ...]:
    """Repeat a single expected number ``count`` times; several numbers are returned unchanged."""
    return expected if isinstance(expected, tuple) else (expected,) * count


def format_values(values: tuple[Number, ...]) -> str:
    """Format values for display: ``151655 x 88``, or the first numbers."""
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(values) > 1 and len(set(values)) == 1:
        return f"{words[0]} x {len(values)}"
    more = f", ... ({len(values)} in all)" if len(values) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
