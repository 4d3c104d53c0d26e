"""Exact values of a trace, named as a replay states them: ``input_ids[15:103]``, ``positions.time[4:8]``,
``prompt_tokens`` (their number), ``encoder_budget`` (for the largest medium; the reference's: what is made of it).
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
    r"(?P<what>input_ids|positions\.(?P<axis>time|height|width)|prompt_tokens|encoder_budget)"
    r"(\[(?P<start>-?\d*):(?P<stop>-?\d*)(:(?P<step>\d+))?\])?"
)
_SHOWN = 12
Number = int | float


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        MissingValueError: it names nothing; the message says what would.
    """
    if _NAME.fullmatch(name) is None:
        raise MissingValueError(
            f"{name!r} is none of input_ids[start:stop], positions.time[start:stop:step] (or .height, "
            ".width), prompt_tokens, encoder_budget"
        )
    return name


def read_values(name: str, trace: Trace, folder: Path) -> tuple[Number, ...]:
    """What a trace holds there.

    Args:
        name: as in ``check_name``.
        trace: of either side.
        folder: holds its arrays.

    Raises:
        MissingValueError: the trace has no such value.
    """
    found = _NAME.fullmatch(check_name(name))
    assert found is not None
    piece = slice(*(int(found[key]) if found[key] else None for key in ("start", "stop", "step")))
    if found["what"] == "prompt_tokens":
        return (len(_ids(trace)),)
    if found["what"] == "encoder_budget":
        return (_encoder_budget_values(trace),)
    whole = _ids(trace) if found["axis"] is None else _positions(found["axis"], trace, folder)
    return whole[piece]


def _ids(trace: Trace) -> tuple[int, ...]:
    if trace.input_ids is None:
        raise MissingValueError(f"{trace.backend} gave no input_ids: {trace.outcome}: {trace.message}")
    return trace.input_ids


def _encoder_budget_values(trace: Trace) -> int:
    """What an engine reserves for its largest medium, or what the reference makes of it."""
    if trace.encoder_budget is not None:
        return trace.encoder_budget.tokens
    return sum(span.embedded for span in trace.spans or ())


def _positions(axis: str, trace: Trace, folder: Path) -> tuple[Number, ...]:
    with open_arrays(folder) as tensors:
        if tensors is None or "positions" not in tensors:
            raise MissingValueError(f"{trace.backend} gave no positions")
        whole: np.ndarray = tensors.read("positions")
    row = whole[AXES.index(axis) if len(whole) > 1 else 0]
    return tuple(row.tolist())


def round_as_stated(stated: Number | tuple[Number, ...], count: int) -> tuple[Number, ...]:
    """What a replay states, spelt out: one number stands for all places."""
    return stated if isinstance(stated, tuple) else (stated,) * count


def format_values(values: tuple[Number, ...]) -> str:
    """Values as people read them: ``151655 x 88``, or the numbers themselves."""
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(values) > 1 and len(set(values)) == 1:
        return f"{words[0]} x {len(values)}"
    more = f", ... ({len(values)} in all)" if len(values) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
