"""Comparison of the encoder budget with the length of the largest medium."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from tests.support.traces import ENCODER_BUDGET, IMAGE, NOTHING, compute_diffs, make_pair, make_trace
from vlm_parity.diff.stages import encoder_budget
from vlm_parity.schema.media_source import AudioRecipe, VideoRecipe
from vlm_parity.schema.trace import EncoderBudget, Outcome, Span, Stage
from vlm_parity.schema.verdict import DiffStatus

CLIP = EncoderBudget(
    modality="video",
    tokens=32768,
    medium=VideoRecipe(pattern="plain", size=(3584, 1792), frames=4),
    condition="at a max_model_len of 32768",
)
MADE = Span.of("video", 0, range(5, 1463))


def test_as_many_as_are_made() -> None:
    found = encoder_budget.diff_encoder_budget(make_pair())
    assert (found.status, found.metrics) == (DiffStatus.MATCH, {"encoder_budget": 4, "actual": 4})


def test_too_much_as_a_user_sees_it() -> None:
    found = encoder_budget.diff_encoder_budget(
        make_pair(make_trace("transformers", spans=(MADE,)), make_trace(spans=(MADE,), encoder_budget=CLIP))
    )
    first, _, rest = found.message.partition("\n")
    assert first == (
        "reserves too much for its largest video: 32768 positions instead of 1458; "
        "this wastes memory and reduces the batch size"
    )
    assert rest == dedent("""\
        positions  video: 4 frames of 3584 x 1792
            32768  reserved by vllm, at a max_model_len of 32768
             1458  from the reference processor
             1458  from the vllm processor""")
    assert (found.status, found.metrics) == (DiffStatus.MISMATCH, {"encoder_budget": 32768, "actual": 1458})


def test_too_little() -> None:
    few = ENCODER_BUDGET.model_copy(update={"tokens": IMAGE.embedded - 1})
    message = encoder_budget.diff_encoder_budget(make_pair(tested=make_trace(encoder_budget=few))).message
    assert message.startswith("reserves too little for its largest image: 3 positions instead of 4; ")
    assert "the engine may refuse such a medium, or crash" in message


def test_only_media_of_the_modality_count() -> None:
    audio = EncoderBudget(
        modality="audio", tokens=7, medium=AudioRecipe(waveform="sweep", seconds=30), condition="by itself"
    )
    spans = (IMAGE, Span.of("audio", 0, range(20, 27)))
    found = encoder_budget.diff_encoder_budget(
        make_pair(make_trace("transformers", spans=spans), make_trace(spans=None, encoder_budget=audio))
    )
    assert found.metrics == {"encoder_budget": 7, "actual": 7}


@pytest.mark.parametrize(
    ("reference", "tested", "why"),
    [
        ({}, {"encoder_budget": None}, "the case has no max_size medium"),
        ({"spans": None}, {}, "the reference captured nothing for this stage"),
        ({"spans": None, "outcome": Outcome.REFUSED}, {}, "the reference: refused"),
        (
            {},
            {"encoder_budget": None, "outcome": Outcome.ERROR},
            "the case has no max_size medium",
        ),
        ({}, {**NOTHING, "outcome": Outcome.ERROR}, "vllm: error"),
    ],
)
def test_what_cannot_be_compared_says_why(
    reference: dict[str, Any], tested: dict[str, Any], why: str
) -> None:
    found = compute_diffs(make_pair(make_trace("transformers", **reference), make_trace(**tested)))[
        Stage.ENCODER_BUDGET
    ]
    assert (found.status, found.message) == (DiffStatus.NOT_COMPARED, why)


def test_an_engine_that_fails_at_its_own_largest_medium_has_reserved_for_it_all_the_same() -> None:
    failed = make_trace(spans=None, outcome=Outcome.REFUSED)
    assert compute_diffs(make_pair(tested=failed))[Stage.ENCODER_BUDGET].status is DiffStatus.MATCH
