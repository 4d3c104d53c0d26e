"""Exact comparison of two sequences of ids, shown aligned with runs collapsed."""

from __future__ import annotations

from itertools import zip_longest

from vlm_parity.diff.align import align_sequences
from vlm_parity.diff.pair import TracePair, build_match, build_mismatch, format_table
from vlm_parity.schema.trace import Stage
from vlm_parity.schema.verdict import Hunk, SequenceEvidence, StageDiff
from vlm_parity.util.sequences import find_first_difference

_CONTEXT = 2  # runs shown before and after a difference
_LINES = 40  # in a terminal; the report has all


def diff_sequences(
    stage: Stage, pair: TracePair, reference: tuple[int, ...], tested: tuple[int, ...]
) -> StageDiff:
    """Compare two sequences of ids.

    The metric ``different`` counts the indices with different ids, including the surplus of the longer side.
    """
    index = find_first_difference(reference, tested)
    different = sum(a != b for a, b in zip_longest(reference, tested))
    metrics: dict[str, float | int] = {
        "reference_length": len(reference),
        "tested_length": len(tested),
        "different": different,
    }
    hunks = align_sequences(reference, tested)
    evidence = SequenceEvidence(hunks=hunks)
    if index is None:
        return build_match(stage, metrics, evidence)
    metrics["first_different"] = index
    message = (
        f"{stage} differ: {len(reference)} in the reference, {len(tested)} in {pair.tested.backend}; "
        f"first at index {index}, {different} positions differ\n{_format_side_by_side(pair, hunks)}"
    )
    return build_mismatch(stage, message, metrics, evidence)


def _format_side_by_side(pair: TracePair, hunks: tuple[Hunk, ...]) -> str:
    rows: list[tuple[str, ...]] = []
    for number, hunk in enumerate(hunks):
        lines = _rows(pair, hunk)
        if hunk.equal:
            lines = _shorten_rows(lines, first=number == 0, last=number == len(hunks) - 1)
        rows += lines
    if len(rows) > _LINES:
        rows = [*rows[:_LINES], ("", "...", f"{len(rows) - _LINES} more lines", "")]
    return format_table(("", "index", "reference", pair.tested.backend), rows)


def _rows(pair: TracePair, hunk: Hunk) -> list[tuple[str, ...]]:
    """Format one line per run: mark, index, reference, tested."""
    rows: list[tuple[str, ...]] = []
    i, j = hunk.reference_index, hunk.tested_index
    for left, right in zip_longest(hunk.reference, hunk.tested):
        where = str(i if left else j) if i == j or not (left and right) else f"{i}/{j}"
        rows.append(
            (
                " " if hunk.equal else ">",
                where,
                pair.run(*left) if left else "-",
                pair.run(*right) if right else "-",
            )
        )
        i += left[1] if left else 0
        j += right[1] if right else 0
    return rows


def _shorten_rows(rows: list[tuple[str, ...]], *, first: bool, last: bool) -> list[tuple[str, ...]]:
    """Keep only the rows next to a difference."""
    head = [] if first else rows[:_CONTEXT]
    tail = [] if last else rows[max(len(head), len(rows) - _CONTEXT) :]
    hidden = len(rows) - len(head) - len(tail)
    gap = [(" ", "...", f"({hidden} equal)", "")] if hidden else []
    return [*head, *gap, *tail]
