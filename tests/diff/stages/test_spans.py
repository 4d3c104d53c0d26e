"""Spans: where the media's features go, exactly."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.support.traces import IMAGE, make_pair, make_trace
from vlm_parity.diff.stages import spans
from vlm_parity.schema.trace import Span
from vlm_parity.schema.verdict import DiffStatus, StageDiff

VIDEO = Span.of("video", 0, [9, 10, 12, 13])


def diff(reference: tuple[Span, ...], tested: tuple[Span, ...]) -> StageDiff:
    return spans.diff_spans(make_pair(make_trace("transformers", spans=reference), make_trace(spans=tested)))


def test_a_moved_span_and_a_missing_one_as_a_user_sees_them() -> None:
    second, moved = Span.of("image", 1, range(20, 24)), Span.of("image", 1, range(21, 25))
    assert diff((IMAGE, VIDEO, second), (IMAGE, moved)).message == dedent("""\
        spans differ: 2 of 3
           reference                                vllm
           image 0: offset 3, 4 embedded            image 0: offset 3, 4 embedded
        >  video 0: offset 9, 4 embedded in 2 runs  image 1: offset 21, 4 embedded
        >  image 1: offset 20, 4 embedded           -""")


@pytest.mark.parametrize(
    "tested",
    [
        pytest.param((), id="missing"),
        pytest.param((VIDEO, VIDEO), id="twice"),
        pytest.param((Span.of("image", 0, [9, 10, 12, 13]),), id="other modality"),
        pytest.param((Span.of("video", 1, [9, 10, 12, 13]),), id="other item"),
        pytest.param((Span.of("video", 0, [10, 11, 13, 14]),), id="moved by one"),
        pytest.param((Span.of("video", 0, [9, 10, 11, 13]),), id="same border, other positions"),
    ],
)
def test_any_other_span_is_a_mismatch(tested: tuple[Span, ...]) -> None:
    found = diff((VIDEO,), tested)
    assert (found.status, found.metrics["different"]) == (DiffStatus.MISMATCH, 1)


@pytest.mark.parametrize("same", [(), (IMAGE,), (IMAGE, VIDEO)])
def test_equal_spans_match(same: tuple[Span, ...]) -> None:
    found = diff(same, same)
    assert (found.status, found.message, found.metrics["reference_spans"]) == (
        DiffStatus.MATCH,
        "",
        len(same),
    )
