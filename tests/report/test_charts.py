"""Drawings: positions where they belong, nothing hidden, nothing let through."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_parity.report.charts import Lane, render_plot, render_ruler, render_share
from vlm_parity.schema.trace import Span, Stage


def _parse(markup: Any) -> Any:
    return Xml.fromstring(str(markup))  # noqa: S314 (our own markup)


def _shapes(root: Any, tag: Any, name: Any) -> Any:
    return [shape for shape in root.iter(tag) if name in shape.get("class", "").split()]


def _percent(shape: Any, attribute: Any) -> Any:
    return float(shape.get(attribute).rstrip("%"))


def _plot(records: ModuleType, values: Any, **changes: Any) -> Any:
    diff = records.logits(Stage.PREFILL, values, first=changes.pop("first", 0))
    return _parse(render_plot(diff.evidence.model_copy(update=changes)))


def test_a_span_lies_at_its_positions() -> None:
    root = _parse(render_ruler([Lane("reference", [Span.of("image", 0, range(10, 30))], 100)]))
    box = _shapes(root, "rect", "m-image")[0]
    assert (_percent(box, "x"), _percent(box, "width")) == (10, 20)
    assert "image 0" in "".join(root.itertext())


def test_both_sides_share_the_axis_of_the_longer() -> None:
    span = Span.of("video", 1, range(50))
    root = _parse(render_ruler([Lane("reference", [span], 100), Lane("vllm", [span], 200)]))
    assert [_percent(box, "width") for box in _shapes(root, "rect", "m-video")] == [25, 25]


def test_the_ruler_marks_what_only_one_side_embeds() -> None:
    sides = [Span.of("image", 0, range(10, 20)), Span.of("image", 0, range(12, 22))]
    root = _parse(render_ruler([Lane(name, [span], 100) for name, span in zip("ab", sides, strict=True)]))
    assert [_percent(box, "x") for box in _shapes(root, "rect", "over")] == [10, 20]


POSITIONS = st.sets(st.integers(0, 30), max_size=20)


@given(POSITIONS, POSITIONS, POSITIONS)
def test_marked_positions_are_those_of_one_side(left: set[int], more: set[int], right: set[int]) -> None:
    spans = [Span.of("image", number, positions) for number, positions in enumerate((left, more))]
    root = _parse(render_ruler([Lane("a", spans, 31), Lane("b", [Span.of("image", 0, right)], 31)]))
    boxes = [(_percent(box, "x"), _percent(box, "width")) for box in _shapes(root, "rect", "over")]
    expected = Span.of("image", 0, (left | more) ^ right).runs
    assert boxes == [
        (pytest.approx(100 * start / 31, abs=1e-3), pytest.approx(100 * (stop - start) / 31, abs=1e-3))
        for start, stop in expected
    ]


def test_equal_sides_have_nothing_marked() -> None:
    span = Span.of("image", 0, range(10, 20))
    assert not _shapes(_parse(render_ruler([Lane("a", [span], 50), Lane("b", [span], 50)])), "rect", "over")


def test_a_run_of_many_pieces_has_a_box_for_each() -> None:
    span = Span.of("video", 0, [*range(5), *range(10, 15)])
    assert len(_shapes(_parse(render_ruler([Lane("a", [span], 50)])), "rect", "m-video")) == 2


def test_bars_say_which_positions_lie_beyond_the_limit(records: ModuleType) -> None:
    root = _plot(records, [1e-6, 1e-2, 1e-6, 1.0])
    assert len(_shapes(root, "rect", "over")) == 2
    assert len(_shapes(root, "rect", "under")) == 2
    assert f"worst: {1 / records.BOUND:.3g}× the limit, at 3" in "".join(root.itertext())


def test_a_larger_difference_is_a_taller_bar(records: ModuleType) -> None:
    small, large = _shapes(_plot(records, [1e-3, 1e-1]), "rect", "over")
    assert float(large.get("height")) > float(small.get("height")) > 0


def test_what_is_no_number_is_a_bar_beyond_the_limit(records: ModuleType) -> None:
    root = _plot(records, [1e-6, float("nan"), float("inf")])
    tall = _shapes(root, "rect", "over")
    assert [float(bar.get("height")) for bar in tall] == [150, 150]


def test_equal_logits_draw_no_bar(records: ModuleType) -> None:
    root = _plot(records, [0.0, 0.0])
    assert not _shapes(root, "rect", "over") + _shapes(root, "rect", "under")


def test_the_worst_of_many_positions_is_not_lost(records: ModuleType) -> None:
    values = [1e-7] * 5000
    values[4321] = 0.5
    root = _plot(records, values)
    assert len(_shapes(root, "rect", "over")) == 1
    assert len(_shapes(root, "rect", "under")) < 300
    assert f"worst: {0.5 / records.BOUND:.3g}× the limit, at 4321" in "".join(root.itertext())


def test_another_token_on_top_is_marked_even_within_the_limit(records: ModuleType) -> None:
    root = _plot(records, [1e-6, 1e-6], top1_equal=(True, False))
    assert len(_shapes(root, "circle", "top1")) == 1


def test_spans_beneath_a_plot_are_cut_to_its_positions(records: ModuleType) -> None:
    diff = records.logits(Stage.PREFILL, [1e-6] * 10, first=100)
    spans = [Span.of("image", 0, range(50, 105)), Span.of("image", 1, range(10))]
    boxes = _shapes(_parse(render_plot(diff.evidence, spans)), "rect", "m-image")
    assert [(_percent(box, "x"), _percent(box, "width")) for box in boxes] == [(0, 50)]


def test_no_position_no_drawing(records: ModuleType) -> None:
    evidence = records.logits(Stage.PREFILL, [1e-6], first=0).evidence
    assert render_plot(evidence.model_copy(update={"row_limit_ratios": ()})) == ""


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", '" onload="alert(1)', "a\u202eb"])
def test_labels_are_escaped(label: Any) -> None:
    markup = str(render_ruler([Lane(label, [Span.of("image", 0, range(3))], 9)]))
    root = _parse(markup)
    assert not list(root.iter("script"))
    assert all(not name.startswith("on") for shape in root.iter() for name in shape.keys())  # noqa: SIM118 (iterating over an element yields children)
    assert not re.search("[\u202e]", markup)


def test_a_share_of_nothing_is_empty() -> None:
    assert 'class="fill" width="0.000%"' in render_share(0, 0)
