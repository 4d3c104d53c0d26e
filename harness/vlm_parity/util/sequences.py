"""First differences and common prefixes of two sequences."""

from __future__ import annotations

from collections.abc import Sequence


def find_first_difference(left: Sequence[object], right: Sequence[object]) -> int | None:
    """Return the first index at which two sequences differ, or None if they are equal.

    If one sequence is a prefix of the other, the index is the length of the prefix.
    """
    length = count_common_prefix(left, right)
    return None if length == len(left) == len(right) else length


def count_common_prefix(left: Sequence[object], right: Sequence[object]) -> int:
    """Return the number of items that two sequences have in common at their start."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
