"""The matrix as a Markdown document, for docs/."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.report.entries import FiledVerdict
from vlm_parity.report.html import KIND_LOOKS
from vlm_parity.report.load_run import Run
from vlm_parity.report.markdown import table
from vlm_parity.report.matrix import Matrix, Row, matrix
from vlm_parity.report.summary import Counts
from vlm_parity.util.text import visible

_LONGEST = 160
_HEAD = """\
# The matrix

Every family, by what its cases hold, against every backend and way in. A cell counts the verdicts of its
cases by kind; the first stage at which one of them parts ways stands behind it. {legend}.
`none` means that the family has no such modality, `not asked` that no case of this run was of that kind.

This page is made from a run (`{command}`); in the report of the run (`matrix.html`) every cell leads to
its evidence.
"""


def markdown(run: Run) -> str:
    """The whole document."""
    found = matrix(run)
    legend = ", ".join(f"{symbol} {kind}" for kind, (_, symbol) in KIND_LOOKS.items())
    blocks = [_HEAD.format(legend=legend, command="parity report RUN --matrix FILE"), _versions(run)]
    blocks += [table(("model", "holds", *found.ways), _rows(found)), *_differences(found)]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _versions(run: Run) -> str:
    environments = {
        filed.verdict.backend: filed.verdict.tested.environment.packages for filed in run.verdicts
    }
    sides = [
        f"{backend} ({', '.join(f'{name} {packages[name]}' for name in sorted(packages))})"
        for backend, packages in sorted(environments.items())
    ]
    total = len(run.verdicts)
    return f"{total} comparisons, made with {'; '.join(sides)}." if sides else "Nothing was compared."


def _rows(found: Matrix) -> Iterator[tuple[str, ...]]:
    for model, rows in found.models:
        for place, row in enumerate(rows):
            yield (model if place == 0 else "", row.kind, *(_cell(row, way) for way in found.ways))


def _cell(row: Row, way: str) -> str:
    counts = row.counts(way)
    if counts is None:
        return "not asked" if row.taken else "none"
    return _shown(counts)


def _shown(counts: Counts) -> str:
    kinds = ", ".join(f"{KIND_LOOKS[kind][1]} {count}" for kind, count in counts.worst_first)
    return f"{kinds} ({counts.first_divergence})" if counts.first_divergence else kinds


def _differences(found: Matrix) -> Iterator[str]:
    if not found.differences:
        return
    yield "## What is no match"
    rows = [
        (
            f"{KIND_LOOKS[each.verdict][1]} {each.verdict}",
            each.way,
            each.stage or "",
            _clipped(each.words),
            "; ".join(f"{model}: {_cases(filed)}" for model, filed in each.models),
        )
        for each in found.differences
    ]
    yield table(("verdict", "way", "first at", "why", "cases"), rows)


def _cases(filed: list[FiledVerdict]) -> str:
    return ", ".join(each.verdict.case for each in filed)


def _clipped(text: str) -> str:
    line = " ".join(visible(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
