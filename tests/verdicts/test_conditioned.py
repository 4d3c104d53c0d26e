"""Behind an earlier difference the stages are compared on the reference's own values."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    DECODE,
    FEATURES,
    IDS,
    NOTHING,
    POSITIONS,
    PREFILL,
    TraceFiles,
    make_trace,
)
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind
from vlm_parity.verdicts.conditioned import find_unjudged, select_condition
from vlm_parity.verdicts.known_issues import KnownIssue, apply_known_issues

MEDIA, FEATURES_GIVEN = Condition.MEDIA, Condition.FEATURES
EMPTY = {name: value for name, value in NOTHING.items() if name != "arrays"}


def decide(trace_files: TraceFiles, arrays: dict[str, np.ndarray] | None = None, **changes: Any) -> Verdict:
    """Decide on a tested trace with other arrays, or another record."""
    trace_files.write(trace_files.tested, make_trace(**changes), {**ARRAYS, **(arrays or {})})
    return trace_files.decide_verdict()


def with_other_features(trace_files: TraceFiles, **arrays: np.ndarray) -> Verdict:
    behind = {"prefill": PREFILL * 1.1, "decode": DECODE * 1.1}
    return decide(trace_files, {"vision": FEATURES + 1, **behind, **arrays})


def known(stage: Stage) -> KnownIssue:
    return KnownIssue(
        name=f"known-{stage}",
        backend="vllm",
        case=("*",),
        stage=stage,
        upstream="https://example.org",
        expires=date(2030, 1, 1),
        note="Its tower.",
    )


def test_nothing_is_given_where_nothing_differs(trace_files: TraceFiles) -> None:
    assert select_condition(trace_files.decide_verdict(), Condition) is None


def test_nothing_is_given_for_the_last_difference(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, greedy=(8, 11, 11))
    assert verdict.first_divergence is Stage.GREEDY
    assert select_condition(verdict, Condition) is None


def test_features_are_given_behind_other_features(trace_files: TraceFiles) -> None:
    verdict = with_other_features(trace_files)
    assert find_unjudged(verdict) == {Stage.PREFILL, Stage.DECODE}  # greedy agrees all the same
    assert select_condition(verdict, Condition) is FEATURES_GIVEN
    assert select_condition(verdict, {MEDIA}) is None


def test_media_are_given_behind_other_ids_before_features_are(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, input_ids=(1, 2), greedy=(1, 2, 3))
    assert select_condition(verdict, Condition) is MEDIA
    assert select_condition(verdict, {FEATURES_GIVEN}) is FEATURES_GIVEN
    agreeing = trace_files.add_pass(verdict, MEDIA)
    assert select_condition(agreeing, Condition) is None  # the language model ran on the same features
    tower = trace_files.add_pass(verdict, MEDIA, {**ARRAYS, "vision": FEATURES + 1, "prefill": PREFILL * 1.1})
    assert select_condition(tower, Condition) is FEATURES_GIVEN


def test_nothing_is_given_to_an_engine_that_has_failed(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, input_ids=(1, 2), outcome=Outcome.UNSUPPORTED, message="no")
    assert verdict.first_divergence is Stage.INPUT_IDS
    assert select_condition(verdict, Condition) is None


def test_without_an_engine_only_positions_are_compared_on_given_media(trace_files: TraceFiles) -> None:
    verdict = decide(trace_files, input_ids=(*IDS[:-1], 12), depth=Depth.TOKENS)
    assert select_condition(verdict, Condition) is MEDIA
    assert select_condition(verdict, {FEATURES_GIVEN}) is None
    moved = {**ARRAYS, "positions": POSITIONS + 1}
    judged = trace_files.add_pass(verdict, MEDIA, moved, depth=Depth.TOKENS)
    assert [diff.stage for diff in judged.stages if diff.conditioned] == [Stage.POSITIONS]
    assert [diff.stage for diff in judged.differences] == [Stage.INPUT_IDS, Stage.POSITIONS]
    assert select_condition(judged, Condition) is None
    assert not list(find_contradictions(judged))


def test_a_match_up_to_a_difference_is_compared_on_given_media_all_the_same(trace_files: TraceFiles) -> None:
    longer = (*IDS[:9], 11, *IDS[9:])
    positions = np.arange(len(longer))[np.newaxis].repeat(3, axis=0)
    verdict = decide(trace_files, {"positions": positions}, input_ids=longer, depth=Depth.TOKENS)
    assert verdict.stage(Stage.POSITIONS).status is DiffStatus.MATCH
    judged = trace_files.add_pass(verdict, MEDIA, depth=Depth.TOKENS)
    given = judged.stage(Stage.POSITIONS).conditioned
    assert given is not None
    assert given.status is DiffStatus.MATCH


def test_a_stage_that_agrees_on_given_values_is_shown_to_follow(trace_files: TraceFiles) -> None:
    verdict = trace_files.add_pass(with_other_features(trace_files), FEATURES_GIVEN)
    assert [diff.stage for diff in verdict.differences] == [Stage.VISION]
    prefill = verdict.stage(Stage.PREFILL)
    assert prefill.consequence
    assert prefill.conditioned is not None
    assert (prefill.conditioned.status, prefill.conditioned.condition) == (DiffStatus.MATCH, FEATURES_GIVEN)
    assert select_condition(verdict, Condition) is None


def test_a_second_difference_is_a_finding_of_its_own(trace_files: TraceFiles) -> None:
    own = with_other_features(trace_files)
    verdict = trace_files.add_pass(
        own, FEATURES_GIVEN, {**ARRAYS, "prefill": PREFILL * 2, "decode": DECODE * 2}
    )
    assert [diff.stage for diff in verdict.differences] == [Stage.VISION, Stage.PREFILL]
    assert verdict.first_divergence is Stage.VISION
    assert verdict.get_diagnoses(Stage.PREFILL)
    assert "on the reference's ids, positions and features: " in verdict.reason
    decode = verdict.stage(Stage.DECODE).conditioned
    assert decode is not None  # its cache holds what prefill has computed
    assert decode.status is DiffStatus.NOT_COMPARED
    assert "cannot be given" in decode.message


def test_a_known_issue_does_not_hide_a_second_difference(trace_files: TraceFiles) -> None:
    own = with_other_features(trace_files)
    today = date(2026, 1, 1)
    agreeing = trace_files.add_pass(own, FEATURES_GIVEN)
    assert apply_known_issues(agreeing, [known(Stage.VISION)], today).kind is VerdictKind.KNOWN
    second = trace_files.add_pass(own, FEATURES_GIVEN, {**ARRAYS, "prefill": PREFILL * 2})
    judged = apply_known_issues(second, [known(Stage.VISION)], today)
    assert judged.kind is VerdictKind.MISMATCH
    assert "no known issue explains prefill; known-vision is about another difference" in judged.reason
    both = [known(Stage.VISION), known(Stage.PREFILL)]
    assert apply_known_issues(second, both, today).kind is VerdictKind.KNOWN


def test_the_limits_of_a_known_issue_hold_for_the_difference_on_given_values(trace_files: TraceFiles) -> None:
    second = trace_files.add_pass(
        with_other_features(trace_files), FEATURES_GIVEN, {**ARRAYS, "prefill": PREFILL * 2}
    )
    own, given = second.stage(Stage.PREFILL), second.get_difference(Stage.PREFILL)
    assert given is not None
    between = (own.metrics["max_abs"] + given.metrics["max_abs"]) / 2
    assert own.metrics["max_abs"] < between < given.metrics["max_abs"]
    limited = known(Stage.PREFILL).model_copy(update={"at_most": {Stage.PREFILL: {"max_abs": between}}})
    judged = apply_known_issues(second, [known(Stage.VISION), limited], date(2026, 1, 1))
    assert judged.kind is VerdictKind.MISMATCH


def test_an_engine_that_cannot_be_given_values_is_not_compared_and_says_why(trace_files: TraceFiles) -> None:
    own = with_other_features(trace_files)
    nothing = {**EMPTY, "outcome": Outcome.UNSUPPORTED, "message": "the engine ran at other positions"}
    verdict = trace_files.add_pass(own, FEATURES_GIVEN, {}, **nothing)
    prefill = verdict.stage(Stage.PREFILL).conditioned
    assert prefill is not None
    assert (prefill.status, prefill.message) == (
        DiffStatus.NOT_COMPARED,
        "vllm: the engine ran at other positions",
    )
    assert [diff.stage for diff in verdict.differences] == [Stage.VISION]
    assert select_condition(verdict, Condition) is None


def test_a_failure_of_the_harness_in_the_pass_fails_the_verdict(trace_files: TraceFiles) -> None:
    own = with_other_features(trace_files)
    nothing = {**EMPTY, "outcome": Outcome.HARNESS_ERROR, "message": "a bug"}
    verdict = trace_files.add_pass(own, FEATURES_GIVEN, {}, **nothing)
    assert verdict.kind is VerdictKind.HARNESS_ERROR
    assert verdict.reason.startswith("on the reference's ids, positions and features: the harness failed")
    assert select_condition(verdict, Condition) is None


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.ERROR, VerdictKind.ERROR),
        (Outcome.CRASH, VerdictKind.ERROR),
        (Outcome.REFUSED, VerdictKind.ERROR),
        (Outcome.INVALID, VerdictKind.INVALID),
    ],
)
def test_an_engine_that_fails_on_given_values_fails_the_verdict(
    trace_files: TraceFiles, outcome: Outcome, kind: VerdictKind
) -> None:
    own = with_other_features(trace_files)
    verdict = trace_files.add_pass(own, FEATURES_GIVEN, {}, **EMPTY, outcome=outcome, message="its own words")
    assert verdict.kind is kind
    assert verdict.reason == f"on the reference's ids, positions and features: {outcome}: its own words"
    assert apply_known_issues(verdict, [known(Stage.VISION)], date(2026, 1, 1)).kind is kind
    assert select_condition(verdict, Condition) is None


def test_an_independent_difference_keeps_its_own_comparison(trace_files: TraceFiles) -> None:
    """Features do not follow from positions: they were compared on the engine's own values."""
    arrays: dict[str, np.ndarray] = {
        "positions": POSITIONS + 1,
        "vision": FEATURES + 1,
        "prefill": PREFILL * 1.1,
    }
    verdict = trace_files.add_pass(decide(trace_files, arrays), FEATURES_GIVEN)
    assert [diff.stage for diff in verdict.differences] == [Stage.POSITIONS, Stage.VISION]
    assert verdict.stage(Stage.VISION).conditioned is None
