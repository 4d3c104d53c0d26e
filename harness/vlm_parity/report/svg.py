"""Shapes of the charts as SVG; all text in them is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup

from vlm_parity.util.text import escape_html


def render_rect(
    name: str, run: tuple[int, int], extent: tuple[int, int], box: tuple[int, int], title: str
) -> Markup:
    """Draw a run of positions as a box.

    Args:
        name: its class in the style sheet.
        run: the first position and the one after the last.
        extent: the first position of the drawing, and the number of positions.
        box: top and height, in pixels.
        title: the tooltip.
    """
    (start, stop), (first, count), (top, height) = run, extent, box
    return join_markup(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        *(
            name,
            format_percent(start - first, count),
            top,
            format_percent(stop - start, count),
            height,
            title,
        ),
    )


def format_percent(part: float, whole: float) -> str:
    """Format a horizontal length as a percentage of the drawing."""
    return f"{100 * part / whole if whole else 0:.3f}%"


def render_drawing(name: str, height: int, label: str, shapes: Iterable[Markup]) -> Markup:
    """Combine shapes into a drawing; ``label`` describes it for screen readers."""
    return join_markup(
        '<svg class="chart {}" height="{}" role="img" aria-label="{}">{}</svg>',
        *(name, height, label, Markup("").join(shapes)),
    )


def join_markup(pattern: str, *values: object) -> Markup:
    """Fill a pattern of this package; every value that is not markup is escaped."""
    escaped = (value if isinstance(value, Markup) else escape_html(str(value)) for value in values)
    return Markup(pattern).format(*escaped)  # noqa: S704 (a pattern is a literal)


def render_axis(first: int, count: int, top: int) -> Markup:
    """Draw ticks at round positions."""
    step = _round_step(count / 6)
    start = math.ceil(first / step) * step
    ticks = []
    for position in range(start, first + count, step):
        x = format_percent(position - first + 0.5, count)
        ticks.append(join_markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, top, top + 4))
        ticks.append(join_markup('<text class="tick" x="{}" y="{}">{}</text>', x, top + 16, position))
    return Markup("").join(ticks)


def _round_step(least: float) -> int:
    scale = 10 ** max(0, math.floor(math.log10(max(least, 1))))
    return int(next((m * scale for m in (1, 2, 5) if m * scale >= least), 10 * scale))
