"""The invariants, on traces made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, IMAGE, PICTURE, make_trace
from vlm_parity.fuzz.frontends import FrontendTrace
from vlm_parity.fuzz.properties import PropertyChecker, compare_traces, is_clear_refusal
from vlm_parity.models.checkpoint import Checkpoint
from vlm_parity.schema.case import Case, ImagePart, Message
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import Outcome, Span

CONFIG = {"vision_config": {"spatial_merge_size": 2}}
ONE = ImagePart(image=ImageRecipe(pattern="gradient", size=(8, 8)))
Broken = Callable[..., list[str]]


def case(count: int = 1) -> Case:
    return Case(name="any", summary="s", messages=(Message(role="user", content=(ONE,) * count),))


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    """What is said of a trace with some changes."""
    properties = PropertyChecker(Checkpoint("any", "qwen2_vl", Path(), "any", ""), CONFIG)

    def broken(asked: Case | None = None, arrays: dict[str, Any] | None = None, **changes: Any) -> list[str]:
        written = make_trace(**changes)
        written.write(tmp_path, {**ARRAYS, **(arrays or {})})
        return [said for _, said in properties.find_broken(asked or case(), FrontendTrace(written, tmp_path))]

    return broken


def test_nothing_is_wrong_with_a_good_trace(broken: Broken) -> None:
    assert broken() == []


def test_every_medium_has_a_span(broken: Broken) -> None:
    assert broken(case(2)) == ["2 media, 1 spans"]


def test_a_span_lies_inside_the_sequence(broken: Broken) -> None:
    (said,) = broken(spans=(Span.of("image", 0, range(10, 14)),))
    assert said == "image 0 reaches beyond the sequence"


def test_an_empty_span_has_to_be_of_no_features(broken: Broken) -> None:
    spans = (Span.of("image", 0, ()),)
    assert broken(spans=spans) == ["image 0 gives 4 features for 0 positions"]
    assert broken(spans=spans, media=(PICTURE.model_copy(update={"fields": {}}),)) == []


def test_spans_share_no_position(broken: Broken) -> None:
    spans = (IMAGE, Span.of("image", 1, range(6, 10)))
    media = (PICTURE, PICTURE.model_copy(update={"item": 1}))
    assert broken(case(2), spans=spans, media=media) == ["image 1 shares positions with a medium before it"]


def test_spans_stand_in_order(broken: Broken) -> None:
    spans = (IMAGE.model_copy(update={"item": 1}), Span.of("image", 0, range(8, 12)))
    media = (PICTURE, PICTURE.model_copy(update={"item": 1}))
    assert "image 1 is out of order" in broken(case(2), spans=spans, media=media)


def test_a_span_is_as_long_as_the_features(broken: Broken) -> None:
    media = (PICTURE.model_copy(update={"fields": {"grid": (1, 4, 6)}}),)
    assert broken(media=media) == ["image 0 gives 6 features for 4 positions"]


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        (np.zeros((3, 5), np.int64), "positions of the shape (3, 5) for 12 ids"),
        (np.full((3, 12), -1), "a position is below zero, or none"),
        (np.full((3, 12), np.nan), "a position is below zero, or none"),
    ],
)
def test_positions_are_there_for_every_id(broken: Broken, positions: np.ndarray, said: str) -> None:
    assert broken(arrays={"positions": positions}) == [said]


def test_a_refusal_has_nothing_to_hold(broken: Broken) -> None:
    assert broken(outcome=Outcome.REFUSED, spans=(Span.of("image", 0, ()),)) == []


@pytest.mark.parametrize(
    ("message", "clear"),
    [
        ("ValueError: the picture is too narrow", True),
        ("AssertionError: 2 pictures for 1 placeholder", True),
        ("StopIteration", False),
        ("TypeError: 'NoneType' object is not an iterator", False),
        ("KeyError: 'image'", False),
        ("ValueError", False),
    ],
)
def test_a_clear_refusal_is_told_from_an_accident(message: str, clear: bool) -> None:
    assert is_clear_refusal(message) is clear


def test_two_answers_are_held_against_each_other(tmp_path: Path) -> None:
    def answer(name: str, arrays: dict[str, Any] | None = None, **changes: Any) -> FrontendTrace:
        written = make_trace(**changes)
        written.write(tmp_path / name, {**ARRAYS, **(arrays or {})})
        return FrontendTrace(written, tmp_path / name)

    first = answer("first")
    assert compare_traces(first, answer("same")) == ""
    assert compare_traces(first, answer("ids", input_ids=(1, 2))) == "input_ids"
    pixels = {PICTURE.tensor_name("pixel_values"): np.zeros((16, 12), np.float32)}
    assert compare_traces(first, answer("pixels", pixels)) == "media.image.0.pixel_values"
    assert compare_traces(first, answer("refused", outcome=Outcome.REFUSED)) == "captured, then refused"
