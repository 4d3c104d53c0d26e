"""What is said of an engine that reserves another number of positions than its largest medium has."""

from __future__ import annotations

from tests.support.findings import told
from tests.support.traces import IMAGE, RESERVED, trace
from vlm_parity.schema.trace import Span, Trace

CAUSE = "encoder budget differs from actual length"
REFERENCE = trace("transformers")


def reserving(tokens: int, **changes: object) -> Trace:
    return trace(reserved=RESERVED.model_copy(update={"tokens": tokens}), **changes)


def test_as_many_as_it_has_are_not_explained() -> None:
    assert not told(REFERENCE, reserving(IMAGE.embedded))


def test_too_many_are_named_with_both_numbers() -> None:
    (found,) = told(REFERENCE, reserving(3 * IMAGE.embedded))
    assert found.cause == CAUSE
    assert found.explanation == (
        "vllm reserves 12 positions (3 times as many) for its largest image, 56 x 56, of which transformers "
        "makes 4, and so does its own processor (at a max_model_len of 64): memory and batch size are lost."
    )


def test_too_few_are() -> None:
    (found,) = told(REFERENCE, reserving(3))
    assert "reserves 3 positions (1.33 times as few)" in found.explanation
    assert found.explanation.endswith("the engine may refuse such a medium, or die of it.")


def test_none_at_all_has_no_ratio() -> None:
    (found,) = told(REFERENCE, reserving(0))
    assert "reserves 0 positions for its largest image" in found.explanation


def test_what_the_engine_itself_makes_is_told_where_it_is_another_number() -> None:
    seven = (Span.of("image", 0, range(3, 10)),)
    reference = trace("transformers", spans=seven)
    tested = reserving(8, spans=seven)
    assert "and so does its own processor" in told(reference, tested)[0].explanation
