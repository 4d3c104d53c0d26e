"""Charts of the report as inline SVG.

Horizontal positions are in percent and vertical ones in pixels, so that a chart fits a phone and a wide
screen while its text keeps its size. Colors come from the style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vlm_parity.report.svg import format_percent, join_markup, render_axis, render_drawing, render_rect
from vlm_parity.schema.trace import Span
from vlm_parity.schema.verdict import LogitEvidence

_LANE = 20
_LANE_PITCH = 42
_LABELED_PERCENT = 9
_NUMBERED_PERCENT = 2.5
_PLOT_TOP, _PLOT_HEIGHT = 30, 150
_COLUMNS = 240
_DECADES = 8
_LINE = 14
_WIDEST_BAR_PERCENT = 2.0
_LIMIT = 1.0
_LEFT_PERCENT, _RIGHT_PERCENT = 25, 75
"""A label left of the first starts at its point, a label right of the second ends there."""
_MOST_LABELED_DECADES = 4


@dataclass(frozen=True)
class Lane:
    """One side of a ruler."""

    label: str
    spans: Sequence[Span]
    length: int
    """Number of positions of the prompt."""


@dataclass(frozen=True)
class _Bar:
    """Neighboring positions drawn as one bar of the largest value."""

    start: int
    stop: int
    row: int
    value: float
    top1_differs: bool


def render_ruler(lanes: Sequence[Lane]) -> Markup:
    """Draw the placeholder spans of both sides on one axis, and the positions that only one side embeds."""
    total = max([lane.length for lane in lanes] + [1])
    rows = [_lane(lane, number, total) for number, lane in enumerate(lanes)]
    runs = _find_single_sided_runs(lanes)
    if runs:
        rows.append(_draw_single_sided_lane(runs, len(rows), total))
    bottom = _LANE_PITCH * len(rows)
    label = "; ".join(f"{lane.label}: {len(lane.spans)} spans in {lane.length} positions" for lane in lanes)
    return render_drawing("ruler", bottom + 26, label, [*rows, render_axis(0, total, bottom + 4)])


def render_plot(evidence: LogitEvidence, spans: Sequence[Span] = ()) -> Markup:
    """Draw the distance of each position from the reference, as a multiple of its limit, on a log scale."""
    first, count = evidence.first_position, len(evidence.row_limit_ratios)
    if not count:
        return Markup("")
    bars = list(_bars(evidence))
    low, high = _decades([bar.value for bar in bars] + [_LIMIT])
    bottom = _PLOT_TOP + _PLOT_HEIGHT
    shapes = [
        *_grid(low, high),
        *(_bar(bar, evidence, low, high) for bar in bars),
        _limit(low, high),
        _worst(evidence, low, high),
        *_strip(spans, first, count, bottom + 3),
        render_axis(first, count, bottom + 14),
    ]
    label = f"Multiples of the limit of the noise floor, at positions {first} to {first + count - 1}"
    return render_drawing("plot", bottom + 36, label, shapes)


def render_share(part: float, whole: float) -> Markup:
    """Draw a small bar for a share of a whole."""
    return join_markup(
        '<svg class="share" aria-hidden="true" height="8"><rect class="track" width="100%" height="8"/>'
        '<rect class="fill" width="{}" height="8"/></svg>',
        format_percent(part, whole),
    )


def _lane(lane: Lane, number: int, total: int) -> Markup:
    top = number * _LANE_PITCH + 16
    shapes = [
        join_markup(
            '<text class="lane" x="0" y="{}">{}, {} positions</text>', top - 5, lane.label, lane.length
        ),
        render_rect("track", (0, lane.length), (0, total), (top, _LANE), ""),
    ]
    for span in lane.spans:
        shapes.append(_span(span, (0, total), (top, _LANE)))
        shapes.append(_span_label(span, total, top))
    return Markup("").join(shapes)


def _span(span: Span, extent: tuple[int, int], box: tuple[int, int]) -> Markup:
    title = f"{span.modality} {span.item}: {span.embedded} embedded positions from {span.offset}"
    return Markup("").join(render_rect(f"m-{span.modality}", run, extent, box, title) for run in span.runs)


def _span_label(span: Span, total: int, top: int) -> Markup:
    """Draw the name of the item if there is space for it, else its number, else nothing."""
    room = 100 * span.length / total
    if room < _NUMBERED_PERCENT:
        return Markup("")
    text = f"{span.modality} {span.item}" if room >= _LABELED_PERCENT else f"{span.item}"
    middle = format_percent(span.offset + span.length / 2, total)
    return join_markup('<text class="item" x="{}" y="{}">{}</text>', middle, top + 14, text)


def _find_single_sided_runs(lanes: Sequence[Lane]) -> list[tuple[int, int]]:
    """Return the runs of positions that one side embeds and the other does not.

    Only the bounds of spans are visited, so the time does not depend on their lengths.
    """
    sides = [sorted(run for span in lane.spans for run in span.runs) for lane in lanes]
    bounds = sorted({bound for side in sides for run in side for bound in run})
    runs: list[tuple[int, int]] = []
    covered = [_list_covered(side, bounds) for side in sides]
    for start, stop, *inside in zip(bounds, bounds[1:], *covered, strict=False):
        if any(inside) and not all(inside):
            first = runs.pop()[0] if runs and runs[-1][1] == start else start
            runs.append((first, stop))
    return runs


def _list_covered(runs: Sequence[tuple[int, int]], bounds: Sequence[int]) -> Iterator[bool]:
    """Yield for each bound whether the runs cover the positions from it to the next one."""
    furthest, remaining = 0, iter(runs)
    following = next(remaining, None)
    for bound in bounds:
        while following is not None and following[0] <= bound:
            furthest = max(furthest, following[1])
            following = next(remaining, None)
        yield bound < furthest


def _draw_single_sided_lane(runs: Sequence[tuple[int, int]], number: int, total: int) -> Markup:
    top = number * _LANE_PITCH + 16
    title = f"{sum(stop - start for start, stop in runs)} positions are embedded on one side only"
    return Markup("").join(
        [join_markup('<text class="lane bad" x="0" y="{}">{}</text>', top - 5, title)]
        + [render_rect("track", (0, total), (0, total), (top, 8), "")]
        + [render_rect("over", run, (0, total), (top, 8), title) for run in runs]
    )


def _strip(spans: Iterable[Span], first: int, count: int, top: int) -> Iterator[Markup]:
    """Draw the spans within the plotted positions as a thin band."""
    for span in spans:
        runs = [(max(a, first), min(b, first + count)) for a, b in span.runs]
        for start, stop in runs:
            if start < stop:
                title = f"{span.modality} {span.item}"
                yield render_rect(f"m-{span.modality}", (start, stop), (first, count), (top, 8), title)


def _bars(evidence: LogitEvidence) -> Iterator[_Bar]:
    count = len(evidence.row_limit_ratios)
    step = max(1, math.ceil(count / _COLUMNS))
    for start in range(0, count, step):
        rows = range(start, min(start + step, count))
        row = max(rows, key=lambda r: _rank_value(evidence.row_limit_ratios[r]))
        differs = any(not equal for equal in evidence.top1_equal[rows.start : rows.stop])
        yield _Bar(rows.start, rows.stop, row, evidence.row_limit_ratios[row], differs)


def _bar(bar: _Bar, evidence: LogitEvidence, low: int, high: int) -> Markup:
    if bar.value == 0 and not bar.top1_differs:
        return Markup("")
    count, bottom = len(evidence.row_limit_ratios), _PLOT_TOP + _PLOT_HEIGHT
    width = 100 * (bar.stop - bar.start) / count
    drawn = min(width * 0.82, _WIDEST_BAR_PERCENT)
    left = 100 * bar.start / count + (width - drawn) / 2
    top = _height(bar.value, low, high)
    within = bar.value <= _LIMIT
    shape = join_markup(
        '<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"><title>{}</title></rect>',
        "under" if within else "over",
        *(f"{n:.3f}" for n in (left, top, drawn, bottom - top)),
        _bar_title(bar, evidence),
    )
    if bar.top1_differs:
        middle = f"{left + drawn / 2:.3f}%"
        shape += join_markup('<circle class="top1" cx="{}" cy="{}" r="2.5"/>', middle, _PLOT_TOP - 8)
    return shape


def _bar_title(bar: _Bar, evidence: LogitEvidence) -> str:
    position, row = evidence.first_position + bar.row, bar.row
    lines = [f"position {position}: {bar.value:.3g} times the limit"]
    named = (
        ("largest", evidence.max_abs),
        ("rms", evidence.rms),
        ("noise", evidence.noise),
        ("KL", evidence.kl),
    )
    lines += [f"{name} {values[row]:.3g}" for name, values in named if row < len(values)]
    return ", ".join(lines + (["the most likely token differs"] if bar.top1_differs else []))


def _limit(low: int, high: int) -> Markup:
    y = f"{_height(_LIMIT, low, high):.1f}"
    return join_markup('<line class="bound" x1="0" x2="100%" y1="{}" y2="{}"/>', y, y) + join_markup(
        '<text class="tick left bound" x="-7" y="{}" dy="4">limit</text>', y
    )


def _worst(evidence: LogitEvidence, low: int, high: int) -> Markup:
    row, count = evidence.worst_position - evidence.first_position, len(evidence.row_limit_ratios)
    if not 0 <= row < count:
        return Markup("")
    x = 100 * (row + 0.5) / count
    y = _height(evidence.row_limit_ratios[row], low, high)
    anchor = "start" if x < _LEFT_PERCENT else "end" if x > _RIGHT_PERCENT else "middle"
    text = f"worst: {evidence.row_limit_ratios[row]:.3g}× the limit, at {evidence.worst_position}"
    return join_markup(
        '<circle class="worst" cx="{}%" cy="{}" r="4"/><text class="worst {}" x="{}%" y="10">{}</text>',
        *(f"{x:.3f}", f"{y:.1f}", anchor, f"{x:.3f}", text),
    )


def _grid(low: int, high: int) -> Iterator[Markup]:
    """Draw a line for each decade; a label that would cover the label of the limit is left out."""
    step = 1 if high - low <= _MOST_LABELED_DECADES else 2
    for exponent in range(low, high + 1, step):
        height = _height(10.0**exponent, low, high)
        y = f"{height:.1f}"
        yield join_markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>', y, y)
        if abs(height - _height(_LIMIT, low, high)) >= _LINE:
            yield join_markup('<text class="tick left" x="-7" y="{}" dy="4">1e{}</text>', y, exponent)


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """Return the exponents of the first and last decade: at most ``_DECADES``, without zeros."""
    usable = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    high = math.floor(math.log10(max(usable))) + 1
    low = math.floor(math.log10(min(usable)))
    return max(min(low, high - 2), high - _DECADES), high


def _height(value: float, low: int, high: int) -> float:
    """Return the vertical position of a value: the top for NaN and infinity, the bottom for zero."""
    if not math.isfinite(value):
        return _PLOT_TOP
    bottom = _PLOT_TOP + _PLOT_HEIGHT
    if value <= 0:
        return bottom
    share = (math.log10(value) - low) / (high - low)
    return bottom - _PLOT_HEIGHT * min(max(share, 0.0), 1.0)


def _rank_value(value: float) -> float:
    return math.inf if math.isnan(value) else value
