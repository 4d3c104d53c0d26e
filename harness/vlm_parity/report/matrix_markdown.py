"""The matrix as a Markdown document, for docs/."""

from __future__ import annotations

from collections.abc import Iterator

from vlm_parity.report.entries import VerdictEntry
from vlm_parity.report.load_run import LoadedRun
from vlm_parity.report.markdown import format_table
from vlm_parity.report.matrix import Matrix, MatrixRow, build_matrix
from vlm_parity.report.page_styles import KIND_STYLE
from vlm_parity.report.summary import VerdictCounts
from vlm_parity.util.text import escape_markdown

_MAX_LENGTH = 160
_HEADER = """\
# The matrix

Every family by the content of its cases, in every backend, mode and entry point. A cell counts verdicts by
kind, followed by the first stage at which one of them differs. {legend}.
`none`: the family does not have this modality. `not run`: the run has no such case.

Generated from a run by `{command}`; in the report of the run (`matrix.html`), every cell links to its
evidence.
"""


def render_markdown(run: LoadedRun) -> str:
    """Render the document."""
    matrix = build_matrix(run)
    legend = ", ".join(f"{symbol} {kind}" for kind, (_, symbol) in KIND_STYLE.items())
    blocks = [_HEADER.format(legend=legend, command="parity report RUN --matrix FILE"), _versions(run)]
    blocks += [
        format_table(("model", "content", *matrix.labels), _build_rows(matrix)),
        *_list_differences(matrix),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _versions(run: LoadedRun) -> str:
    environments = {
        entry.verdict.backend: entry.verdict.tested.environment.packages for entry in run.verdicts
    }
    sides = [
        f"{backend} ({', '.join(f'{name} {packages[name]}' for name in sorted(packages))})"
        for backend, packages in sorted(environments.items())
    ]
    total = len(run.verdicts)
    if not sides:
        return "Nothing was compared."
    return escape_markdown(f"{total} comparisons with {'; '.join(sides)}.")


def _build_rows(matrix: Matrix) -> Iterator[tuple[str, ...]]:
    for model, rows in matrix.models:
        for index, row in enumerate(rows):
            cells = (_format_cell(row, label) for label in matrix.labels)
            yield (model if index == 0 else "", row.kind, *cells)


def _format_cell(row: MatrixRow, label: str) -> str:
    counts = row.counts(label)
    if counts is None:
        return "not run" if row.is_supported else "none"
    return _format_counts(counts)


def _format_counts(counts: VerdictCounts) -> str:
    kinds = ", ".join(f"{KIND_STYLE[kind][1]} {count}" for kind, count in counts.worst_first)
    return f"{kinds} ({counts.first_divergence})" if counts.first_divergence else kinds


def _list_differences(matrix: Matrix) -> Iterator[str]:
    if not matrix.differences:
        return
    yield "## Verdicts other than match"
    rows = [
        (
            f"{KIND_STYLE[difference.verdict][1]} {difference.verdict}",
            difference.label,
            difference.stage or "",
            _clip_text(difference.description),
            "; ".join(f"{model}: {_join_cases(entries)}" for model, entries in difference.models),
        )
        for difference in matrix.differences
    ]
    yield format_table(("verdict", "backend", "first at", "cause or reason", "cases"), rows)


def _join_cases(entries: list[VerdictEntry]) -> str:
    return ", ".join(entry.verdict.case for entry in entries)


def _clip_text(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 3]}..."
