"""Two sequences of ids side by side, runs of one id collapsed: the rows of the table in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from vlm_parity.schema.trace import Trace
from vlm_parity.schema.verdict import Hunk, SequenceEvidence

_KEPT = 3
_MOST_ROWS = 300


@dataclass(frozen=True)
class Run:
    """One id, repeated ``count`` times from ``index``."""

    index: int
    id: int
    count: int
    text: str

    @property
    def where(self) -> str:
        """The index, or the first and the last."""
        return f"{self.index}" if self.count == 1 else f"{self.index}–{self.index + self.count - 1}"


@dataclass(frozen=True)
class Block:
    """Rows that are shown together; a folded one opens on demand."""

    equal: bool
    folded: bool
    rows: tuple[tuple[Run | None, Run | None], ...]
    left_out: int = 0
    """Rows too many to show."""

    @property
    def summary(self) -> str:
        """What a folded block holds."""
        runs = [left for left, _ in self.rows if left]
        positions = sum(run.count for run in runs)
        return f"{positions} equal positions, {runs[0].index}–{runs[-1].index + runs[-1].count - 1}"


def blocks(evidence: SequenceEvidence, reference: Trace, tested: Trace) -> list[Block]:
    """The aligned sequences, long equal stretches folded up to a few rows beside a difference."""
    found: list[Block] = []
    for number, hunk in enumerate(evidence.hunks):
        rows = tuple(_rows(hunk, reference.vocabulary, tested.vocabulary))
        if hunk.equal:
            found += _folded(rows, head=number > 0, tail=number < len(evidence.hunks) - 1)
        elif rows:
            found.append(Block(False, False, rows[:_MOST_ROWS], max(0, len(rows) - _MOST_ROWS)))
    return found


def one_sided(ids: Sequence[int], vocabulary: Mapping[int, str]) -> list[Run]:
    """One sequence alone, runs collapsed."""
    return list(_runs([(id_, len(list(group))) for id_, group in groupby(ids)], 0, vocabulary))


def _rows(
    hunk: Hunk, reference: Mapping[int, str], tested: Mapping[int, str]
) -> Iterator[tuple[Run | None, Run | None]]:
    left = _runs(hunk.reference, hunk.reference_index, reference)
    return zip_longest(left, _runs(hunk.tested, hunk.tested_index, tested))


def _runs(pairs: Sequence[tuple[int, int]], index: int, vocabulary: Mapping[int, str]) -> Iterator[Run]:
    for id_, count in pairs:
        yield Run(index, id_, count, vocabulary.get(id_, ""))
        index += count


def _folded(rows: tuple[tuple[Run | None, Run | None], ...], *, head: bool, tail: bool) -> Iterator[Block]:
    """Keeps the rows next to a difference in view and folds the rest, where it is worth it."""
    start = _KEPT if head else 0
    stop = len(rows) - (_KEPT if tail else 0)
    if stop - start <= _KEPT:
        yield Block(True, False, rows)
        return
    shown = ((False, rows[:start]), (True, rows[start:stop]), (False, rows[stop:]))
    yield from (Block(True, folded, piece) for folded, piece in shown if piece)
