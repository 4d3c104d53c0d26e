"""The matrix as a Markdown document, for docs/."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.report.entries import VerdictEntry
from vlm_parity.report.html import KIND_STYLE
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.markdown import format_table
from vlm_parity.report.matrix import Matrix, MatrixRow, build_matrix
from vlm_parity.report.summary import VerdictCounts
from vlm_parity.util.text import escape_invisible

_MAX_LENGTH = 160
_HEADER = """\
# The matrix

Every family, by what its cases hold, against every backend and way in. A cell counts the verdicts of its
cases by kind; the first stage at which one of them parts ways stands behind it. {legend}.
`none` means that the family has no such modality, `not asked` that no case of this run was of that kind.

This page is made from a run (`{command}`); in the report of the run (`matrix.html`) every cell leads to
its evidence.
"""


def render_markdown(run: LoadedRun) -> str:
    """The whole document."""
    found = build_matrix(run)
    legend = ", ".join(f"{symbol} {kind}" for kind, (_, symbol) in KIND_STYLE.items())
    blocks = [_HEADER.format(legend=legend, command="parity report RUN --matrix FILE"), _versions(run)]
    blocks += [format_table(("model", "holds", *found.ways), _rows(found)), *_differences(found)]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _versions(run: LoadedRun) -> str:
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


def _cell(row: MatrixRow, way: str) -> str:
    counts = row.counts(way)
    if counts is None:
        return "not asked" if row.taken else "none"
    return _format_counts(counts)


def _format_counts(counts: VerdictCounts) -> str:
    kinds = ", ".join(f"{KIND_STYLE[kind][1]} {count}" for kind, count in counts.worst_first)
    return f"{kinds} ({counts.first_divergence})" if counts.first_divergence else kinds


def _differences(found: Matrix) -> Iterator[str]:
    if not found.differences:
        return
    yield "## What is no match"
    rows = [
        (
            f"{KIND_STYLE[each.verdict][1]} {each.verdict}",
            each.way,
            each.stage or "",
            _clip_text(each.description),
            "; ".join(f"{model}: {_cases(filed)}" for model, filed in each.models),
        )
        for each in found.differences
    ]
    yield format_table(("verdict", "way", "first at", "why", "cases"), rows)


def _cases(filed: list[VerdictEntry]) -> str:
    return ", ".join(each.verdict.case for each in filed)


def _clip_text(text: str) -> str:
    line = " ".join(escape_invisible(text).split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 3]}..."
