"""Aligns two sequences of ids, runs of one id collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby

from harness.verdict import Hunk

Run = tuple[int, int]
"""An id and how often it stands in a row."""


def collapse(ids: Sequence[int]) -> tuple[Run, ...]:
    """The runs of a sequence; as many as there are changes of id."""
    return tuple((token, sum(1 for _ in group)) for token, group in groupby(ids))


def align(reference: Sequence[int], tested: Sequence[int]) -> tuple[Hunk, ...]:
    """Hunks, equal and different ones in turn, that cover both sequences in order.

    The work grows with the number of runs, not of ids: a prompt of thousands of image tokens is a
    handful of runs.
    """
    left, right = collapse(reference), collapse(tested)
    if left == right:  # where nothing is to be found, looking for it would take most of the time
        return tuple(_hunks([("equal", 0, len(left), 0, len(right))] if left else [], left, right))
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    return tuple(_hunks(blocks, left, right))


def _hunks(
    blocks: Sequence[tuple[str, int, int, int, int]], left: tuple[Run, ...], right: tuple[Run, ...]
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


def first_difference(reference: Sequence[object], tested: Sequence[object]) -> int | None:
    """The first index at which two sequences differ; None where they are equal."""
    for index, (a, b) in enumerate(zip(reference, tested, strict=False)):
        if a != b:
            return index
    return None if len(reference) == len(tested) else min(len(reference), len(tested))
