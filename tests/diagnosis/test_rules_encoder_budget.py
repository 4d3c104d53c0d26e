"""Explanations of an encoder budget that differs from the length of the largest medium."""

from __future__ import annotations

from typing import Any

from tests.support.findings import explain_traces
from tests.support.traces import ENCODER_BUDGET, IMAGE, make_trace
from vlm_parity.schema.trace import Span, Trace

CAUSE = "encoder budget differs from actual length"
REFERENCE = make_trace("transformers")


def reserving(tokens: int, **changes: Any) -> Trace:
    return make_trace(encoder_budget=ENCODER_BUDGET.model_copy(update={"tokens": tokens}), **changes)


def test_as_many_as_it_has_are_not_explained() -> None:
    assert not explain_traces(REFERENCE, reserving(IMAGE.embedded))


def test_too_many_are_named_with_both_numbers() -> None:
    (found,) = explain_traces(REFERENCE, reserving(3 * IMAGE.embedded))
    assert found.cause == CAUSE
    assert found.explanation == (
        "vllm reserves 12 positions (3 times as many) for its largest image, 56 x 56 "
        "(at a max_model_len of 64), which has 4 in transformers and in its own processor: this wastes "
        "memory and reduces the batch size."
    )


def test_too_few_are() -> None:
    (found,) = explain_traces(REFERENCE, reserving(3))
    assert "reserves 3 positions (1.33 times as few)" in found.explanation
    assert found.explanation.endswith("the engine may refuse such a medium, or crash.")


def test_none_at_all_has_no_ratio() -> None:
    (found,) = explain_traces(REFERENCE, reserving(0))
    assert "reserves 0 positions for its largest image" in found.explanation


def test_what_the_engine_itself_makes_is_reported_where_it_is_another_number() -> None:
    seven = (Span.of("image", 0, range(3, 10)),)
    reference = make_trace("transformers", spans=seven)
    tested = reserving(8, spans=seven)
    assert "in transformers and in its own processor" in explain_traces(reference, tested)[0].explanation
