"""Changes of a run and the decision of the gate as Markdown, such as the summary of a CI step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vlm_parity.changes.gate import GateResult
from vlm_parity.report.comparison_rows import (
    CHANGE_HEADER,
    REASON_HEADER,
    build_change_row,
    build_reason_row,
    format_environment,
    format_note,
    list_shown_groups,
    shorten_list,
)
from vlm_parity.report.markdown import format_table
from vlm_parity.report.run_comparison import RunComparison
from vlm_parity.util.text import escape_markdown


def render_comparison(comparison: RunComparison) -> str:
    """Render the result in a sentence, the environment changes, and the changes by class and cause."""
    rows = [build_change_row(group) for group in list_shown_groups(comparison)]
    return _join(
        [
            f"**{escape_markdown(comparison.sentence)}**",
            *_render_list("Environment", map(format_environment, comparison.environment)),
            *_render_table(CHANGE_HEADER, rows),
            *_render_list("Problems of the run", shorten_list(comparison.run.problems)),
            *_render_list("Problems of the baseline", shorten_list(comparison.baseline.problems)),
            escape_markdown(format_note(comparison)),
        ]
    )


def render_gate(comparison: RunComparison, result: GateResult) -> str:
    """Render the decision in a sentence, its reasons, and the environment changes."""
    rows = [build_reason_row(reason) for reason in result.reasons]
    return _join(
        [
            f"**{escape_markdown(result.sentence)}**",
            *_render_table(REASON_HEADER, rows),
            *_render_list("Environment", map(format_environment, comparison.environment)),
            escape_markdown(format_note(comparison)),
        ]
    )


def _render_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield format_table(header, rows)


def _render_list(title: str, items: Iterable[str]) -> Iterator[str]:
    lines = [f"- {escape_markdown(item)}" for item in items]
    if lines:
        yield f"{title}:"
        yield "\n".join(lines)


def _join(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"
