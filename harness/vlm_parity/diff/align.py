"""Alignment of two sequences of ids, with runs of one id collapsed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

from vlm_parity.schema.verdict import Hunk
from vlm_parity.util.sequences import count_common_prefix

TokenRun = tuple[int, int]
"""An id and its number of consecutive repetitions."""
Opcode = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]
_MOST_PAIRS = 1000 * 1000


def collapse_runs(ids: Sequence[int]) -> tuple[TokenRun, ...]:
    """Collapse consecutive equal ids to runs."""
    return tuple((token, sum(1 for _ in group)) for token, group in groupby(ids))


def align_sequences(reference: Sequence[int], tested: Sequence[int]) -> tuple[Hunk, ...]:
    """Align two sequences as hunks that cover both in order, equal and different ones alternating.

    The cost depends on the number of runs, not of ids: a prompt with thousands of image tokens is a
    handful of runs.
    """
    left, right = collapse_runs(reference), collapse_runs(tested)
    if left == right:  # most sequences are equal, and difflib would take most of the time
        return tuple(_build_hunks([("equal", 0, len(left), 0, len(right))] if left else [], left, right))
    return tuple(_build_hunks(compute_opcodes(left, right), left, right))


def compute_opcodes(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[Opcode]:
    """Compute difflib opcodes that turn one sequence into the other.

    For long sequences, such as a video of thousands of frames, only the common prefix and suffix are
    equal; all between them is one replacement, since the cost of difflib is cubic in the repetitions.
    """
    if len(left) * len(right) <= _MOST_PAIRS:
        return SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    start = count_common_prefix(left, right)
    stop = count_common_prefix(left[start:][::-1], right[start:][::-1])
    ends = len(left) - stop, len(right) - stop
    opcodes: list[Opcode] = [
        ("equal", 0, start, 0, start),
        ("replace", start, ends[0], start, ends[1]),
        ("equal", ends[0], len(left), ends[1], len(right)),
    ]
    return [code for code in opcodes if code[1] < code[2] or code[3] < code[4]]


def _build_hunks(
    blocks: Sequence[Opcode], left: tuple[TokenRun, ...], right: tuple[TokenRun, ...]
) -> Iterator[Hunk]:
    i = j = 0
    for tag, i1, i2, j1, j2 in blocks:
        hunk = Hunk(
            equal=tag == "equal",
            reference_index=i,
            tested_index=j,
            reference=left[i1:i2],
            tested=right[j1:j2],
        )
        yield hunk
        i += sum(count for _, count in hunk.reference)
        j += sum(count for _, count in hunk.tested)
