"""All stages: each is either compared or says why not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.traces import ARRAYS, IDS, IMAGE, NOTHING, PROMPT, OnDisk, trace
from vlm_parity.diff.compare import DIFFS
from vlm_parity.schema.trace import Depth, Outcome, Span, Stage
from vlm_parity.schema.verdict import StageDiff, Status


def diffs(on_disk: OnDisk, reference: dict[str, Any], tested: dict[str, Any]) -> dict[Stage, StageDiff]:
    on_disk.write(on_disk.reference, trace("transformers", **reference), ARRAYS)
    on_disk.write(on_disk.tested, trace(**tested), ARRAYS)
    return {diff.stage: diff for diff in on_disk.judge().stages}


def messages(found: dict[Stage, StageDiff], status: Status = Status.NOT_COMPARED) -> dict[Stage, str]:
    """What is said of the stages that ended so."""
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
def test_every_stage_appears_exactly_once_and_in_order(on_disk: OnDisk, tested: dict[str, Any]) -> None:
    on_disk.write(on_disk.tested, trace(**tested))
    assert [diff.stage for diff in on_disk.judge().stages] == list(Stage)


def test_what_agrees_matches_at_every_stage(on_disk: OnDisk) -> None:
    found = diffs(on_disk, {}, {})
    assert {stage for stage, diff in found.items() if diff.status is Status.MATCH} == set(DIFFS) == set(Stage)


def test_at_the_depth_of_tokens_no_logits_are_compared(on_disk: OnDisk) -> None:
    nothing = {"depth": Depth.TOKENS, "continuation": None, "greedy": None}
    found = diffs(on_disk, nothing, nothing)
    reason = "it was asked at the depth tokens"
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
def test_what_a_side_has_not_captured_is_named(on_disk: OnDisk, stage: Stage, missing: str) -> None:
    reason = "captured nothing for this stage"
    assert messages(diffs(on_disk, {}, {missing: None}))[stage] == f"vllm {reason}"
    assert messages(diffs(on_disk, {missing: None}, {}))[stage] == f"the reference {reason}"


def test_a_sides_own_reason_comes_first(on_disk: OnDisk) -> None:
    own = {"spans": None, "not_captured": {Stage.SPANS: "no family is registered"}}
    reason = "the reference: no family is registered"
    assert messages(diffs(on_disk, own, {})) == {Stage.SPANS: reason, Stage.RESERVED: reason}
    assert messages(diffs(on_disk, {}, own)) == {Stage.SPANS: "vllm: no family is registered"}


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.CAPTURED])
def test_a_side_with_nothing_says_how_it_ended(on_disk: OnDisk, outcome: Outcome) -> None:
    nothing = {"outcome": outcome, **NOTHING}
    assert messages(diffs(on_disk, {}, nothing)) == dict.fromkeys(DIFFS, f"vllm: {outcome}")
    assert messages(diffs(on_disk, nothing, {})) == dict.fromkeys(DIFFS, f"the reference: {outcome}")


def test_what_came_before_an_error_is_compared(on_disk: OnDisk) -> None:
    """The engine raised while it ran: its front end had done its part."""
    found = diffs(on_disk, {}, {"outcome": Outcome.ERROR, "greedy": None, "continuation": None})
    assert messages(found) == dict.fromkeys((Stage.PREFILL, Stage.DECODE, Stage.GREEDY), "vllm: error")
    assert found[Stage.INPUT_IDS].status is Status.MATCH


@pytest.mark.parametrize("tested", [(), None], ids=["none", "not captured"])
def test_a_case_without_media_has_no_pixels_and_no_features(on_disk: OnDisk, tested: Any) -> None:
    found = diffs(on_disk, {"spans": (), "media": ()}, {"spans": (), "media": tested})
    assert messages(found) == dict.fromkeys((Stage.MEDIA, Stage.VISION), "the case holds no medium")


def test_where_ids_differ_positions_have_no_counterpart(on_disk: OnDisk) -> None:
    found = diffs(on_disk, {}, {"input_ids": (*IDS[:-1], 12)})
    reason = "the ids differ, so the positions have no counterpart"
    by_position = (Stage.POSITIONS, Stage.VISION, Stage.PREFILL, Stage.DECODE)
    assert messages(found) == dict.fromkeys(by_position, reason)
    assert list(messages(found, Status.MISMATCH)) == [Stage.INPUT_IDS]
    assert found[Stage.GREEDY].status is Status.MATCH


def test_other_ids_below_the_features_leave_the_positions_their_counterparts(on_disk: OnDisk) -> None:
    other = [12 if place in IMAGE.positions else token for place, token in enumerate(IDS)]
    found = diffs(on_disk, {}, {"input_ids": tuple(other)})
    assert list(messages(found, Status.MISMATCH)) == [Stage.INPUT_IDS]
    assert not messages(found)


def test_other_ids_below_the_features_of_other_spans_have_no_counterpart(on_disk: OnDisk) -> None:
    other = [12 if place in IMAGE.positions else token for place, token in enumerate(IDS)]
    moved = {"spans": (Span.of("image", 0, range(4, 8)),)}
    found = diffs(on_disk, {}, {"input_ids": tuple(other), **moved})
    assert messages(found)[Stage.PREFILL] == "the ids differ, so the positions have no counterpart"


def test_what_is_written_otherwise_around_media_counts_by_its_ids(on_disk: OnDisk) -> None:
    written = PROMPT.replace("<image>", "<img><image></img>")
    found = diffs(on_disk, {}, {"prompt": written})
    reason = "media are written otherwise, and the ids that come of it are the same"
    assert messages(found) == {Stage.PROMPT: reason}
    found = diffs(on_disk, {}, {"prompt": written, "input_ids": (*IDS, 12)})
    assert list(messages(found, Status.MISMATCH)) == [Stage.PROMPT, Stage.INPUT_IDS]
