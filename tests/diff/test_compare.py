"""All stages: each is either compared or says why not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.traces import ARRAYS, IDS, IMAGE, NOTHING, PROMPT, TraceFiles, make_trace
from vlm_parity.diff.compare import STAGE_DIFFS
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Span, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff


def diffs(
    trace_files: TraceFiles, reference: dict[str, Any], tested: dict[str, Any]
) -> dict[Stage, StageDiff]:
    trace_files.write(trace_files.reference, make_trace("transformers", **reference))
    trace_files.write(trace_files.tested, make_trace(**tested))
    return {diff.stage: diff for diff in trace_files.decide_verdict().stages}


def messages(found: dict[Stage, StageDiff], status: DiffStatus = DiffStatus.NOT_COMPARED) -> dict[Stage, str]:
    """Return the messages of the stages with a status."""
    return {stage: diff.message for stage, diff in found.items() if diff.status is status}


@pytest.mark.parametrize(
    "tested",
    [
        {},
        {"input_ids": (1, 2)},
        {"depth": Depth.TOKENS},
        {"outcome": Outcome.CRASH, **NOTHING},
        {"not_captured": dict.fromkeys(Stage, "no hook")},
    ],
    ids=["match", "mismatch", "tokens", "crash", "no hooks"],
)
def test_every_stage_appears_exactly_once_and_in_order(
    trace_files: TraceFiles, tested: dict[str, Any]
) -> None:
    trace_files.write(trace_files.tested, make_trace(**tested))
    assert [diff.stage for diff in trace_files.decide_verdict().stages] == list(Stage)


def test_what_agrees_matches_at_every_stage(trace_files: TraceFiles) -> None:
    found = diffs(trace_files, {}, {})
    assert (
        {stage for stage, diff in found.items() if diff.status is DiffStatus.MATCH}
        == set(STAGE_DIFFS)
        == set(Stage)
    )


def test_at_the_depth_of_tokens_no_logits_are_compared(trace_files: TraceFiles) -> None:
    nothing = {"depth": Depth.TOKENS, "continuation": None, "greedy": None}
    found = diffs(trace_files, nothing, nothing)
    reason = "captured at depth tokens"
    needs_weights = (Stage.VISION, Stage.PREFILL, Stage.DECODE, Stage.GREEDY)
    assert messages(found) == dict.fromkeys(needs_weights, reason)


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        (Stage.PROMPT, "prompt"),
        (Stage.INPUT_IDS, "input_ids"),
        (Stage.SPANS, "spans"),
        (Stage.MEDIA, "media"),
        (Stage.GREEDY, "greedy"),
    ],
)
def test_what_a_side_has_not_captured_is_named(trace_files: TraceFiles, stage: Stage, missing: str) -> None:
    """Beside a side that failed; two captured traces are not compared if either lacks a stage."""
    reason = "captured nothing for this stage"
    failed = {"outcome": Outcome.ERROR}
    assert messages(diffs(trace_files, failed, {missing: None}))[stage] == f"vllm {reason}"
    assert messages(diffs(trace_files, {missing: None}, failed))[stage] == f"the reference {reason}"


def test_a_sides_own_reason_comes_first(trace_files: TraceFiles) -> None:
    own = {"spans": None, "not_captured": {Stage.SPANS: "no family is registered"}}
    reason = "the reference: no family is registered"
    assert messages(diffs(trace_files, own, {})) == {Stage.SPANS: reason, Stage.ENCODER_BUDGET: reason}
    assert messages(diffs(trace_files, {}, own)) == {Stage.SPANS: "vllm: no family is registered"}


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.CAPTURED])
def test_a_side_with_nothing_says_how_it_ended(trace_files: TraceFiles, outcome: Outcome) -> None:
    nothing = {"outcome": outcome, **NOTHING}
    assert messages(diffs(trace_files, {}, nothing)) == dict.fromkeys(STAGE_DIFFS, f"vllm: {outcome}")
    assert messages(diffs(trace_files, nothing, {})) == dict.fromkeys(
        STAGE_DIFFS, f"the reference: {outcome}"
    )


def test_what_came_before_an_error_is_compared(trace_files: TraceFiles) -> None:
    """The engine raised while it ran: its front end had done its part."""
    front_end = {name: array for name, array in ARRAYS.items() if name not in {"prefill", "decode"}}
    failed = make_trace(outcome=Outcome.ERROR, greedy=None, continuation=None)
    trace_files.write(trace_files.tested, failed, front_end)
    found = {diff.stage: diff for diff in trace_files.decide_verdict().stages}
    assert messages(found) == dict.fromkeys((Stage.PREFILL, Stage.DECODE, Stage.GREEDY), "vllm: error")
    assert found[Stage.INPUT_IDS].status is DiffStatus.MATCH


@pytest.mark.parametrize("tested", [(), None], ids=["none", "not captured"])
def test_a_case_without_media_has_no_pixels_and_no_features(trace_files: TraceFiles, tested: Any) -> None:
    found = diffs(trace_files, {"spans": (), "media": ()}, {"spans": (), "media": tested})
    assert messages(found) == dict.fromkeys((Stage.MEDIA, Stage.VISION), "the case has no media")


def test_where_ids_differ_rows_have_no_counterpart(trace_files: TraceFiles) -> None:
    found = diffs(trace_files, {}, {"input_ids": (*IDS[:-1], 12)})
    reason = "the ids differ, so the positions have no counterpart"
    leading = f"{reason}; the 3 positions in front of the difference match"
    assert messages(found) == {Stage.DECODE: reason, Stage.PREFILL: leading}
    assert list(messages(found, DiffStatus.MISMATCH)) == [Stage.INPUT_IDS]
    assert not found[Stage.POSITIONS].differs
    assert not found[Stage.VISION].differs
    assert found[Stage.GREEDY].status is DiffStatus.MATCH


def test_other_ids_below_the_features_leave_the_positions_their_counterparts(trace_files: TraceFiles) -> None:
    other = [12 if place in IMAGE.positions else token for place, token in enumerate(IDS)]
    found = diffs(trace_files, {}, {"input_ids": tuple(other)})
    assert list(messages(found, DiffStatus.MISMATCH)) == [Stage.INPUT_IDS]
    assert not messages(found)


def test_other_ids_below_the_features_of_other_spans_have_no_counterpart(trace_files: TraceFiles) -> None:
    other = [12 if place in IMAGE.positions else token for place, token in enumerate(IDS)]
    moved = {"spans": (Span.of("image", 0, range(4, 8)),)}
    found = diffs(trace_files, {}, {"input_ids": tuple(other), **moved})
    reason = "the ids differ, so the positions have no counterpart"
    assert messages(found)[Stage.DECODE] == reason
    assert messages(found)[Stage.PREFILL] == f"{reason}; the 3 positions in front of the difference match"


def test_what_is_written_otherwise_around_media_counts_by_its_ids(trace_files: TraceFiles) -> None:
    written = PROMPT.replace("<image>", "<img><image></img>")
    found = diffs(trace_files, {}, {"prompt": written})
    reason = "placeholders are rendered differently, but the token ids are equal"
    assert messages(found) == {Stage.PROMPT: reason}
    found = diffs(trace_files, {}, {"prompt": written, "input_ids": (*IDS, 12)})
    assert list(messages(found, DiffStatus.MISMATCH)) == [Stage.PROMPT, Stage.INPUT_IDS]
