"""Two aligned sequences of ids, with repeated ids collapsed: the rows of the id tables."""

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
        """The index, or the first and the last one."""
        return f"{self.index}" if self.count == 1 else f"{self.index}–{self.index + self.count - 1}"


@dataclass(frozen=True)
class IdBlock:
    """Consecutive rows; a folded block opens on demand."""

    equal: bool
    is_folded: bool
    rows: tuple[tuple[IdRun | None, IdRun | None], ...]
    omitted_rows: int = 0
    """Number of rows beyond the maximum."""

    @property
    def summary(self) -> str:
        """The label of a folded block."""
        runs = [left for left, _ in self.rows if left]
        positions = sum(run.count for run in runs)
        return f"{positions} equal positions, {runs[0].index}–{runs[-1].index + runs[-1].count - 1}"


def build_blocks(evidence: SequenceEvidence, reference: Trace, tested: Trace) -> list[IdBlock]:
    """Split aligned sequences into blocks; long equal stretches are folded except near differences."""
    blocks: list[IdBlock] = []
    for number, hunk in enumerate(evidence.hunks):
        rows = tuple(_rows(hunk, reference.vocabulary, tested.vocabulary))
        if hunk.equal:
            blocks += _fold_rows(rows, head=number > 0, tail=number < len(evidence.hunks) - 1)
        elif rows:
            blocks.append(IdBlock(False, False, rows[:_MAX_ROWS], max(0, len(rows) - _MAX_ROWS)))
    return blocks


def build_one_sided_runs(ids: Sequence[int], vocabulary: Mapping[int, str]) -> list[IdRun]:
    """Collapse the repeated ids of one sequence."""
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
    """Fold all rows but those next to a difference, unless there are only a few."""
    start = _CONTEXT_ROWS if head else 0
    stop = len(rows) - (_CONTEXT_ROWS if tail else 0)
    if stop - start <= _CONTEXT_ROWS:
        yield IdBlock(True, False, rows)
        return
    pieces = ((False, rows[:start]), (True, rows[start:stop]), (False, rows[stop:]))
    yield from (IdBlock(True, is_folded, piece) for is_folded, piece in pieces if piece)
