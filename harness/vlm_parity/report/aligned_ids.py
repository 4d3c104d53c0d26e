"""Two sequences of ids side by side, runs of one id collapsed: the rows of the table in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from vlm_parity.schema.trace import Trace
from vlm_parity.schema.verdict import Hunk, SequenceEvidence

_CONTEXT_ROWS = 3
_MAX_ROWS = 300


@dataclass(frozen=True)
class IdRun:
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
class IdBlock:
    """Rows that are shown together; a folded one opens on demand."""

    equal: bool
    folded: bool
    rows: tuple[tuple[IdRun | None, IdRun | None], ...]
    left_out: int = 0
    """Rows too many to show."""

    @property
    def summary(self) -> str:
        """What a folded block holds."""
        runs = [left for left, _ in self.rows if left]
        positions = sum(run.count for run in runs)
        return f"{positions} equal positions, {runs[0].index}–{runs[-1].index + runs[-1].count - 1}"


def build_blocks(evidence: SequenceEvidence, reference: Trace, tested: Trace) -> list[IdBlock]:
    """The aligned sequences, long equal stretches folded up to a few rows beside a difference."""
    found: list[IdBlock] = []
    for number, hunk in enumerate(evidence.hunks):
        rows = tuple(_rows(hunk, reference.vocabulary, tested.vocabulary))
        if hunk.equal:
            found += _fold_rows(rows, head=number > 0, tail=number < len(evidence.hunks) - 1)
        elif rows:
            found.append(IdBlock(False, False, rows[:_MAX_ROWS], max(0, len(rows) - _MAX_ROWS)))
    return found


def build_one_sided_runs(ids: Sequence[int], vocabulary: Mapping[int, str]) -> list[IdRun]:
    """One sequence alone, runs collapsed."""
    return list(_runs([(id_, len(list(group))) for id_, group in groupby(ids)], 0, vocabulary))


def _rows(
    hunk: Hunk, reference: Mapping[int, str], tested: Mapping[int, str]
) -> Iterator[tuple[IdRun | None, IdRun | None]]:
    left = _runs(hunk.reference, hunk.reference_index, reference)
    return zip_longest(left, _runs(hunk.tested, hunk.tested_index, tested))


def _runs(pairs: Sequence[tuple[int, int]], index: int, vocabulary: Mapping[int, str]) -> Iterator[IdRun]:
    for id_, count in pairs:
        yield IdRun(index, id_, count, vocabulary.get(id_, ""))
        index += count


def _fold_rows(
    rows: tuple[tuple[IdRun | None, IdRun | None], ...], *, head: bool, tail: bool
) -> Iterator[IdBlock]:
    """Keeps the rows next to a difference in view and folds the rest, where it is worth it."""
    start = _CONTEXT_ROWS if head else 0
    stop = len(rows) - (_CONTEXT_ROWS if tail else 0)
    if stop - start <= _CONTEXT_ROWS:
        yield IdBlock(True, False, rows)
        return
    shown = ((False, rows[:start]), (True, rows[start:stop]), (False, rows[stop:]))
    yield from (IdBlock(True, folded, piece) for folded, piece in shown if piece)
