"""The page of trends over runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from vlm_parity.changes.bisection import list_bisections
from vlm_parity.changes.classify import Change
from vlm_parity.changes.comparison import State
from vlm_parity.changes.groups import ChangeGroup, group_changes
from vlm_parity.changes.run_summary import RunSummary
from vlm_parity.changes.trends import Cell, Night, Series, Trends
from vlm_parity.report.change_section import MAX_GROUPS
from vlm_parity.report.comparison_rows import format_environment, shorten_list
from vlm_parity.report.page_templates import render_page
from vlm_parity.report.trend_charts import render_series

TRENDS_FILE = "trends.html"
MAX_SERIES = 200
"""Series of distances shown, those with the latest steps."""
_MAX_BISECTIONS = 2
_STATE_STYLE = {
    State.AGREES: ("good", "="),
    State.DIFFERS: ("bad", "≠"),
    State.NOT_COMPARED: ("none", "–"),
}


@dataclass(frozen=True)
class CellView:
    """A cell of the calendar."""

    style: str
    """Class in the style sheet."""
    symbol: str
    text: str
    """``3/24``: comparisons with the worst result, of all."""
    title: str
    mark: str
    """A triangle if results changed in this run; empty if none did."""


@dataclass(frozen=True)
class NightView:
    """The changes of one run."""

    name: str
    started: str
    is_worse: bool
    problems: tuple[str, ...]
    environment: tuple[str, ...]
    groups: tuple[ChangeGroup, ...]
    omitted: int
    """Number of groups left out."""
    bisections: tuple[str, ...]


@dataclass(frozen=True)
class SeriesView:
    """One value over the runs."""

    title: str
    point: str
    chart: Markup
    latest: float
    steps: tuple[str, ...]
    """``run-5 of 2026-11-05: 0.2 -> 0.48``, the latest first."""


def render_trends(trends: Trends) -> str:
    """Render the page; all names in it are escaped."""
    names = [run.name for run in trends.runs]
    return render_page(
        "trends.html.j2",
        headline=format_trends(trends),
        runs=trends.runs,
        calendar=[
            (model, label, [_view_cell(cells.get(index)) for index in range(len(names))])
            for (model, label), cells in trends.calendar.items()
        ],
        nights=[_view_night(night) for night in reversed(trends.nights[1:])],
        margins=[_view_series(series, trends.runs) for series in trends.margins[:MAX_SERIES]],
        omitted_margins=max(0, len(trends.margins) - MAX_SERIES),
        times=[_view_series(series, trends.runs) for series in trends.times],
    )


def format_trends(trends: Trends) -> str:
    """Format the trends in a sentence."""
    if len(trends.nights) <= 1:
        return "One run: changes show from the second one on." if trends.nights else "No run."
    worse = sum(night.is_worse for night in trends.nights[1:])
    steps = sum(len(series.steps) for series in trends.margins)
    return (
        f"{len(trends.nights)} runs; {worse} of {len(trends.nights) - 1} are worse than those before them; "
        f"{steps} steps in distances."
    )


def list_night_bisections(changes: Iterable[Change]) -> tuple[str, ...]:
    """List the commands that bisect the worst changes of a run, without repetition."""
    found: dict[str, None] = {}
    for group in group_changes(changes):
        found |= dict.fromkeys(list_bisections(group.changes[0]))
    return tuple(found)[:_MAX_BISECTIONS]


def _view_cell(cell: Cell | None) -> CellView | None:
    if cell is None:
        return None
    style, symbol = _STATE_STYLE[cell.state]
    total, shown = sum(cell.counts.values()), cell.counts.get(cell.state, 0)
    title = ", ".join(f"{count} {state}" for state, count in cell.counts.items())
    title += f"; {cell.worse} became worse" if cell.worse else ""
    title += f"; {cell.better} changed otherwise" if cell.better else ""
    mark = "▲" if cell.worse else "▽" if cell.better else ""
    return CellView(style, symbol, str(total) if shown == total else f"{shown}/{total}", title, mark)


def _view_night(night: Night) -> NightView:
    groups = group_changes(night.changes)
    return NightView(
        name=night.run.name,
        started=_format_date(night.run),
        is_worse=night.is_worse,
        problems=tuple(shorten_list(night.run.problems)),
        environment=tuple(map(format_environment, night.environment)),
        groups=groups[:MAX_GROUPS],
        omitted=max(0, len(groups) - MAX_GROUPS),
        bisections=list_night_bisections(night.changes),
    )


def _view_series(series: Series, runs: tuple[RunSummary, ...]) -> SeriesView:
    latest = series.values[max(series.values)]
    chart = render_series(series, [run.name for run in runs])
    return SeriesView(series.title, series.point, chart, latest, tuple(_format_steps(series, runs)))


def _format_steps(series: Series, runs: tuple[RunSummary, ...]) -> Iterator[str]:
    for step in reversed(series.steps):
        run = runs[step.index]
        yield f"{run.name} ({_format_date(run)}): {step.before:.3g} -> {step.after:.3g}"


def _format_date(run: RunSummary) -> str:
    return (run.started or "unknown time")[:16].replace("T", " ")
