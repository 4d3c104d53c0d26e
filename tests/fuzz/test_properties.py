"""The properties of traces, each violated on its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, IMAGE, IMAGE_INPUT, make_trace
from vlm_parity.fuzz.frontends import FrontendTrace
from vlm_parity.fuzz.properties import PropertyChecker, compare_traces, is_clear_refusal
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, ImagePart, Message
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import Outcome, Span

CONFIG = {"vision_config": {"spatial_merge_size": 2}}
ONE = ImagePart(image=ImageRecipe(pattern="gradient", size=(8, 8)))
Check = Callable[..., list[str]]


def make_case(count: int = 1) -> Case:
    return Case(name="any", summary="s", messages=(Message(role="user", content=(ONE,) * count),))


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Return a function that lists the violations in a trace with some changes."""
    properties = PropertyChecker(Checkpoint("any", "qwen2_vl", Path(), "any", ""), CONFIG)

    def check(case: Case | None = None, arrays: dict[str, Any] | None = None, **changes: Any) -> list[str]:
        trace = make_trace(**changes)
        trace.write(tmp_path, {**ARRAYS, **(arrays or {})})
        violations = properties.check(case or make_case(), FrontendTrace(trace, tmp_path))
        return [message for _, message in violations]

    return check


def test_a_valid_trace_has_no_violations(check: Check) -> None:
    assert check() == []


def test_every_medium_has_a_span(check: Check) -> None:
    assert check(make_case(2)) == ["2 media, 1 spans"]


def test_spans_are_within_the_sequence(check: Check) -> None:
    (message,) = check(spans=(Span.of("image", 0, range(10, 14)),))
    assert message == "image 0 extends beyond the sequence"


def test_an_empty_span_needs_a_medium_without_features(check: Check) -> None:
    spans = (Span.of("image", 0, ()),)
    assert check(spans=spans) == ["image 0 has 4 features for 0 positions"]
    assert check(spans=spans, media=(IMAGE_INPUT.model_copy(update={"fields": {}}),)) == []


def test_spans_do_not_overlap(check: Check) -> None:
    spans = (IMAGE, Span.of("image", 1, range(6, 10)))
    media = (IMAGE_INPUT, IMAGE_INPUT.model_copy(update={"item": 1}))
    assert check(make_case(2), spans=spans, media=media) == ["image 1 overlaps an earlier span"]


def test_spans_are_in_order(check: Check) -> None:
    spans = (IMAGE.model_copy(update={"item": 1}), Span.of("image", 0, range(8, 12)))
    media = (IMAGE_INPUT, IMAGE_INPUT.model_copy(update={"item": 1}))
    assert "image 1 is out of order" in check(make_case(2), spans=spans, media=media)


def test_span_lengths_match_the_feature_counts(check: Check) -> None:
    media = (IMAGE_INPUT.model_copy(update={"fields": {"grid": (1, 4, 6)}}),)
    assert check(media=media) == ["image 0 has 6 features for 4 positions"]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((3, 5), np.int64), "positions of the shape (3, 5) for 12 ids"),
        (np.full((3, 12), -1), "a position is negative or not finite"),
        (np.full((3, 12), np.nan), "a position is negative or not finite"),
    ],
)
def test_every_id_has_a_valid_position(check: Check, positions: np.ndarray, message: str) -> None:
    assert check(arrays={"positions": positions}) == [message]


def test_refusals_are_not_checked(check: Check) -> None:
    assert check(outcome=Outcome.REFUSED, spans=(Span.of("image", 0, ()),)) == []


@pytest.mark.parametrize(
    ("message", "clear"),
    [
        ("ValueError: the image is too narrow", True),
        ("AssertionError: 2 images for 1 placeholder", True),
        ("StopIteration", False),
        ("TypeError: 'NoneType' object is not an iterator", False),
        ("KeyError: 'image'", False),
        ("ValueError", False),
    ],
)
def test_clear_refusals_differ_from_internal_errors(message: str, clear: bool) -> None:
    assert is_clear_refusal(message) is clear


def test_traces_are_compared_stage_by_stage(tmp_path: Path) -> None:
    def write_trace(name: str, arrays: dict[str, Any] | None = None, **changes: Any) -> FrontendTrace:
        trace = make_trace(**changes)
        trace.write(tmp_path / name, {**ARRAYS, **(arrays or {})})
        return FrontendTrace(trace, tmp_path / name)

    first = write_trace("first")
    assert compare_traces(first, write_trace("same")) == ""
    assert compare_traces(first, write_trace("ids", input_ids=(1, 2))) == "input_ids"
    pixels = {IMAGE_INPUT.tensor_name("pixel_values"): np.zeros((16, 12), np.float32)}
    assert compare_traces(first, write_trace("pixels", pixels)) == "media.image.0.pixel_values"
    assert compare_traces(first, write_trace("refused", outcome=Outcome.REFUSED)) == "captured, then refused"
