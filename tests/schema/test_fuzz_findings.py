"""What makes two failing examples one finding."""

from __future__ import annotations

import pytest

from tests.support.traces import IDS, OnDisk, failed, trace
from vlm_parity.schema.fuzz_findings import Fuzzed, FuzzRecord, Key, alike, joined, key_of
from vlm_parity.schema.trace import Outcome


def test_a_match_breaks_nothing(on_disk: OnDisk) -> None:
    assert key_of(on_disk.judge()) is None


def test_a_mismatch_is_known_by_its_stage_and_cause(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, trace(input_ids=tuple(10 if each == 9 else each for each in IDS)))
    assert key_of(on_disk.judge()) == Key("input_ids", "pad token used as image token")


def test_a_failure_is_known_by_what_is_said(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.tested, failed(Outcome.ERROR, message="ValueError: 3 of 'a b' in [1, 2]"))
    assert key_of(on_disk.judge()) == Key("error", "ValueError: N of ... in (...)")


def test_a_refusal_by_transformers_alone_is_known_by_its_words(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, failed(Outcome.REFUSED, "transformers", "ValueError: 2 pictures"))
    assert key_of(on_disk.judge()) == Key("refusal", "ValueError: N pictures")


def test_a_refusal_by_both_breaks_nothing(on_disk: OnDisk) -> None:
    on_disk.write(on_disk.reference, failed(Outcome.REFUSED, "transformers"))
    on_disk.write(on_disk.tested, failed(Outcome.REFUSED))
    assert key_of(on_disk.judge()) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("got 1.5e-3 at 7", "got 2 at 88"),
        ("no 'a' in x", "no 'b c' in x"),
        ("data={'x': [[1,\n 2]]}", "data={'y': [[77,\n 1]]}"),
        ("first line\nsecond", "first line\nanother"),
    ],
)
def test_what_differs_from_case_to_case_is_left_out(one: str, other: str) -> None:
    assert alike(one) == alike(other)


def test_other_words_are_another_finding() -> None:
    assert alike("too narrow") != alike("too wide")


def test_parts_are_joined() -> None:
    one = Fuzzed(
        model="m", backend="b", profile="ci", seed=1, examples=7, seconds=2, shrinking=3, finished=True
    )
    record = joined([FuzzRecord(fuzzed=(one,)), FuzzRecord(fuzzed=(one,))])
    assert record.examples == 14
    assert record.passes
    assert one.rate == 5
    assert not joined([FuzzRecord(fuzzed=(one.model_copy(update={"finished": False}),))]).passes
