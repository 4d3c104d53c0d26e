"""Aligns two sequences of ids, runs of one id collapsed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

from vlm_parity.schema.verdict import Hunk
from vlm_parity.util.sequences import count_common_prefix

TokenRun = tuple[int, int]
"""An id and how often it stands in a row."""
Opcode = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]
_MOST_PAIRS = 1000 * 1000


def collapse_runs(ids: Sequence[int]) -> tuple[TokenRun, ...]:
    """The runs of a sequence; as many as there are changes of id."""
    return tuple((token, sum(1 for _ in group)) for token, group in groupby(ids))


def align_sequences(reference: Sequence[int], tested: Sequence[int]) -> tuple[Hunk, ...]:
    """Hunks, equal and different ones in turn, that cover both sequences in order.

    The work grows with the number of runs, not of ids: a prompt of thousands of image tokens is a
    handful of runs.
    """
    left, right = collapse_runs(reference), collapse_runs(tested)
    if left == right:  # where nothing is to be found, looking for it would take most of the time
        return tuple(_build_hunks([("equal", 0, len(left), 0, len(right))] if left else [], left, right))
    return tuple(_build_hunks(compute_opcodes(left, right), left, right))


def compute_opcodes(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[Opcode]:
    """What turns one sequence into the other, as difflib tells it.

    Of long sequences, a video of thousands of frames say, only what they share at both ends is told: all that
    stands between is one replacement, for difflib's work grows with the cube of what repeats itself.
    """
    if len(left) * len(right) <= _MOST_PAIRS:
        return SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    start = count_common_prefix(left, right)
    stop = count_common_prefix(left[start:][::-1], right[start:][::-1])
    ends = len(left) - stop, len(right) - stop
    found: list[Opcode] = [
        ("equal", 0, start, 0, start),
        ("replace", start, ends[0], start, ends[1]),
        ("equal", ends[0], len(left), ends[1], len(right)),
    ]
    return [code for code in found if code[1] < code[2] or code[3] < code[4]]


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
