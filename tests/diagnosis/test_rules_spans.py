"""Explanations of spans that differ although the ids are equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.findings import IMAGE, explain_traces, format_turn, list_found_causes, render_text
from vlm_parity.schema.trace import Span, Trace

REFERENCE = render_text(format_turn(f"First: {IMAGE} and then: {IMAGE} What changed?"), 12, 20)
FIRST, SECOND = REFERENCE.spans or ()


def with_spans(*spans: Span) -> Trace:
    """Return the same ids with different spans."""
    return REFERENCE.model_copy(update={"spans": spans})


def moved(span: Span, step: int) -> Span:
    return Span.of(span.modality, span.item, (at + step for at in span.positions))


def test_equal_spans_are_not_explained() -> None:
    assert not explain_traces(REFERENCE, with_spans(FIRST, SECOND))


@given(st.integers(-9, 9).filter(bool), st.booleans())
def test_any_shift_is_named_with_its_width(step: int, both: bool) -> None:
    tested = with_spans(moved(FIRST, step), moved(SECOND, step) if both else SECOND)
    (found,) = explain_traces(REFERENCE, tested)
    assert found.cause == "span shifted"
    direction = "late" if step > 0 else "early"
    assert (
        f"image 0 start {abs(step)} position{'s' if abs(step) > 1 else ''} too {direction}"
        in found.explanation
    )
    assert f"{2 if both else 1} of 2 spans moved." in found.explanation


def test_spans_that_move_by_different_steps() -> None:
    (found,) = explain_traces(REFERENCE, with_spans(moved(FIRST, 1), moved(SECOND, 2)))
    assert found.explanation.endswith("2 of 2 spans moved, by different distances.")


@pytest.mark.parametrize(("stop", "said"), [(11, "1 position too short"), (14, "2 positions too long")])
def test_a_span_of_another_length(stop: int, said: str) -> None:
    positions = range(FIRST.offset, FIRST.offset + stop)
    (found,) = explain_traces(REFERENCE, with_spans(Span.of("image", 0, positions), SECOND))
    assert found.cause == "span length differs"
    assert said in found.explanation


def test_the_same_spans_for_other_media() -> None:
    swapped = FIRST.model_copy(update={"item": 1}), SECOND.model_copy(update={"item": 0})
    (found,) = explain_traces(REFERENCE, with_spans(*swapped))
    assert found.cause == "media reordered"
    assert found.explanation.startswith(f"The positions of image 0 (12 positions from {FIRST.offset})")


@pytest.mark.parametrize("left", [(FIRST,), (SECOND,), ()])
def test_a_medium_without_a_span(left: tuple[Span, ...]) -> None:
    assert list_found_causes(REFERENCE, with_spans(*left)) == ["span missing or added"]
    assert list_found_causes(with_spans(*left), REFERENCE) == ["span missing or added"]


def test_the_first_in_two_pieces_is_none_of_these() -> None:
    holes = [at for at in range(FIRST.offset - 1, FIRST.offset + FIRST.length) if at != FIRST.offset + 3]
    assert list_found_causes(REFERENCE, with_spans(Span.of("image", 0, holes), SECOND)) == []
