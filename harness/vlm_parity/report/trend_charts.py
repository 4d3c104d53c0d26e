"""Lines of one value over many runs, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from vlm_parity.changes.trends import Quantity, Series
from vlm_parity.report.svg import format_percent, join_markup, render_drawing

_HEIGHT, _MARGIN = 44, 6
_LEAST_SPAN = 1.0
"""Octaves that the height shows at least, so that rounding is no mountain range."""
_LEAST_VALUE = 1e-6
_LARGEST_VALUE = 1e9
_LIMIT = 1.0


def render_series(series: Series, run_names: Sequence[str]) -> Markup:
    """Draw a value by run on a log scale: points, steps as vertical lines, and the limit of a distance.

    Args:
        series: the value.
        run_names: names of all runs, for the tooltips.
    """
    heights = {index: _to_octaves(value) for index, value in series.values.items()}
    shown = [*heights.values(), *([_to_octaves(_LIMIT)] if _shows_limit(series) else [])]
    low, high = min(shown), max(shown)
    spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
    low, high = low - spare, high + spare

    def place(octaves: float) -> int:
        return round(_MARGIN + (_HEIGHT - 2 * _MARGIN) * (high - octaves) / (high - low))

    count = len(run_names)
    shapes = [_draw_limit(place(_to_octaves(_LIMIT)))] if _shows_limit(series) else []
    shapes += [_draw_step(step.index, count, step.is_increase) for step in series.steps]
    shapes += [
        _draw_point(index, count, place(octaves), f"{run_names[index]}: {series.values[index]:.3g}")
        for index, octaves in heights.items()
    ]
    label = f"{series.quantity} of {series.title}, {series.point}, in {len(heights)} of {count} runs"
    return render_drawing("series", _HEIGHT, label, shapes)


def _shows_limit(series: Series) -> bool:
    """Return whether the limit is near enough to be drawn."""
    return series.quantity is Quantity.MARGIN


def _to_octaves(value: float) -> float:
    return math.log2(min(max(value, _LEAST_VALUE), _LARGEST_VALUE))


def _draw_limit(y: int) -> Markup:
    return join_markup(
        '<line class="limit" x1="0" x2="100%" y1="{}" y2="{}"><title>limit</title></line>', y, y
    )


def _draw_step(index: int, count: int, is_increase: bool) -> Markup:
    x = format_percent(index, count)
    name = "step up" if is_increase else "step down"
    return join_markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>', name, x, x, _HEIGHT)


def _draw_point(index: int, count: int, y: int, title: str) -> Markup:
    x = format_percent(index + 0.5, count)
    return join_markup('<circle class="point" cx="{}" cy="{}" r="3"><title>{}</title></circle>', x, y, title)
