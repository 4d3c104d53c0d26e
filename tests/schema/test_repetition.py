"""Failed attempts and repeated passes: their conclusions and sentences."""

from __future__ import annotations

import pytest

from vlm_parity.schema.repetition import (
    Attempt,
    Repetition,
    describe_attempts,
    describe_repetitions,
    is_infrastructure_failure,
    is_unstable,
)
from vlm_parity.schema.trace import Outcome, Stage

CAPTURED, CRASH, ERROR = Outcome.CAPTURED, Outcome.CRASH, Outcome.ERROR
SAME = Repetition(outcome=CAPTURED, first_divergence=Stage.VISION, is_identical=True)
OTHER_BITS = Repetition(outcome=CAPTURED, first_divergence=Stage.VISION)
AGREES = Repetition(outcome=CAPTURED)
EARLIER = Repetition(outcome=CAPTURED, first_divergence=Stage.MEDIA)
FAILED = Repetition(outcome=CRASH, message="signal 9")


@pytest.mark.parametrize(
    ("outcome", "message", "expected"),
    [
        (CRASH, "no answer within 300 s", True),
        (ERROR, "OutOfMemoryError: CUDA out of memory.", True),
        (ERROR, "torch.OutOfMemoryError: CUDA out of memory.", True),
        (ERROR, "MemoryError", True),
        (ERROR, "ValueError: MemoryError: quoted", False),
        (Outcome.REFUSED, "OutOfMemoryError: no", False),
        (Outcome.HARNESS_ERROR, "MemoryError: ours", False),
    ],
)
def test_failures_that_may_be_of_the_machine(outcome: Outcome, message: str, expected: bool) -> None:
    assert is_infrastructure_failure(outcome, message) is expected


@pytest.mark.parametrize(
    ("repetitions", "sentence"),
    [
        ((), ""),
        ((SAME, SAME), "repeats bit for bit in 3 of 3 passes"),
        ((SAME, OTHER_BITS), "differs in 3 of 3 passes, bit for bit equal in 2"),
        (
            (AGREES, SAME),
            "comes and goes: 2 of 3 differ first at vision, 1 of 3 agree up to vision",
        ),
        (
            (EARLIER, AGREES),
            "comes and goes: 1 of 3 differ first at media, 1 of 3 differ first at vision, "
            "1 of 3 agree up to vision",
        ),
        ((SAME, FAILED), "repeats bit for bit in 2 of 2 passes; 1 more not compared: crash: signal 9"),
        ((FAILED, FAILED), "2 more not compared: crash: signal 9"),
    ],
)
def test_sentence_on_passes(repetitions: tuple[Repetition, ...], sentence: str) -> None:
    assert describe_repetitions(Stage.VISION, repetitions) == sentence
    assert is_unstable(Stage.VISION, repetitions) is sentence.startswith("comes and goes")


def test_sentence_on_attempts() -> None:
    attempt = Attempt(outcome=CRASH, message="no answer within 300 s; its last lines:\nloading")
    assert describe_attempts((), has_failed_again=False) == ""
    assert describe_attempts((attempt,), has_failed_again=False) == (
        "the first attempt crashed: no answer within 300 s; it was run again in a new process"
    )
    assert describe_attempts((attempt,), has_failed_again=True).startswith(
        "failed in 2 of 2 attempts, each in"
    )
