"""Identity of findings."""

from __future__ import annotations

import pytest

from tests.support.traces import IDS, TraceFiles, make_failed_trace, make_trace
from vlm_parity.schema.fuzz_findings import (
    FindingKey,
    FuzzRecord,
    FuzzSummary,
    get_finding_key,
    merge_fuzz_records,
    normalize_message,
)
from vlm_parity.schema.trace import Outcome


def test_a_match_breaks_nothing(trace_files: TraceFiles) -> None:
    assert get_finding_key(trace_files.decide_verdict()) is None


def test_a_mismatch_is_known_by_its_stage_and_cause(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.tested, make_trace(input_ids=tuple(10 if each == 9 else each for each in IDS))
    )
    assert get_finding_key(trace_files.decide_verdict()) == FindingKey(
        "input_ids", "pad token used as image token"
    )


def test_a_failure_is_known_by_what_is_said(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.tested, make_failed_trace(Outcome.ERROR, message="ValueError: 3 of 'a b' in [1, 2]")
    )
    assert get_finding_key(trace_files.decide_verdict()) == FindingKey(
        "error", "ValueError: N of ... in (...)"
    )


def test_a_refusal_by_transformers_alone_is_known_by_its_words(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers", "ValueError: 2 images")
    )
    assert get_finding_key(trace_files.decide_verdict()) == FindingKey("refusal", "ValueError: N images")


def test_a_refusal_by_both_breaks_nothing(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers"))
    trace_files.write(trace_files.tested, make_failed_trace(Outcome.REFUSED))
    assert get_finding_key(trace_files.decide_verdict()) is None


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
    assert normalize_message(one) == normalize_message(other)


def test_other_words_are_another_finding() -> None:
    assert normalize_message("too narrow") != normalize_message("too wide")


def test_parts_are_joined() -> None:
    one = FuzzSummary(
        model="m", backend="b", profile="ci", seed=1, examples=7, seconds=2, shrinking=3, finished=True
    )
    record = merge_fuzz_records([FuzzRecord(fuzzed=(one,)), FuzzRecord(fuzzed=(one,))])
    assert record.examples == 14
    assert record.passes
    assert one.rate == 5
    assert not merge_fuzz_records([FuzzRecord(fuzzed=(one.model_copy(update={"finished": False}),))]).passes
