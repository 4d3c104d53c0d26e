"""The policy of the gate: what fails a run, what warns, and the decision in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.verdicts import compare_verdicts, make_failure, make_verdict
from vlm_parity.changes.gate import GateResult, Level, decide_gate
from vlm_parity.schema.repetition import Attempt
from vlm_parity.schema.trace import Outcome, Stage
from vlm_parity.schema.verdict import Verdict, VerdictKind

VISION = {Stage.VISION: 50.0}
AGREEING, DIFFERING = make_verdict(), make_verdict(VISION, causes={Stage.VISION: "GELU"})
KNOWN = make_verdict(VISION, kind=VerdictKind.KNOWN)
UNSTABLE = make_verdict(VISION, causes={Stage.VISION: "GELU"}, kind=VerdictKind.UNSTABLE)
RETRIED = make_verdict(attempts=(Attempt(outcome=Outcome.CRASH, message="signal 9"),))


def decide(before: list[Verdict], after: list[Verdict]) -> GateResult:
    return decide_gate(compare_verdicts(before, after))


def list_rules(result: GateResult) -> list[tuple[Level, str]]:
    return [(reason.level, reason.rule) for reason in result.reasons]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (AGREEING, AGREEING),
        (DIFFERING, DIFFERING),
        (DIFFERING, AGREEING),
        (UNSTABLE, UNSTABLE),
        (make_failure(), AGREEING),
        (make_failure(VerdictKind.UNSUPPORTED), make_failure(VerdictKind.UNSUPPORTED)),
    ],
)
def test_nothing_new_passes(before: Verdict, after: Verdict) -> None:
    result = decide([before], [after])
    assert result.passes
    assert result.reasons == ()


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (AGREEING, DIFFERING, "new difference"),
        (DIFFERING, make_verdict({Stage.PROMPT: 1.0}), "changed difference"),
        (AGREEING, UNSTABLE, "new difference"),
        (DIFFERING, UNSTABLE, "changed difference"),
        (AGREEING, make_failure(), "lost comparison"),
        (AGREEING, make_failure(VerdictKind.UNSUPPORTED), "lost comparison"),
        (AGREEING, make_verdict(not_compared=[Stage.VISION]), "fewer stages"),
        (AGREEING, None, "removed"),
        (make_failure(VerdictKind.UNSUPPORTED), make_failure(), "not compared"),
        (make_failure(), DIFFERING, "restored comparison"),
        (AGREEING, make_verdict(VISION, case_digest="b"), "edited case"),
    ],
)
def test_what_fails(before: Verdict, after: Verdict | None, rule: str) -> None:
    result = decide([before], [] if after is None else [after])
    assert not result.passes
    assert list_rules(result) == [(Level.FAILURE, rule)]
    assert result.sentence.startswith(f"The gate fails: {rule}: ")
    assert "one_image · qwen2_vl · vllm" in result.sentence


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (AGREEING, KNOWN, "new difference"),
        (KNOWN, make_verdict(VISION), "no longer known"),
        (make_verdict(), make_verdict(margins={Stage.DECODE: 0.9}), "smaller margin"),
        (make_failure(), make_failure(VerdictKind.ERROR), "not compared"),
        (UNSTABLE, AGREEING, "no longer unstable"),
        (AGREEING, RETRIED, "run again"),
    ],
)
def test_what_warns(before: Verdict, after: Verdict, rule: str) -> None:
    result = decide([before], [after])
    assert result.passes
    assert list_rules(result) == [(Level.WARNING, rule)]
    assert result.sentence.endswith(" (1 warning).")


def test_a_known_difference_that_costs_stages_fails() -> None:
    """Stages behind it were judged in the baseline, and are not in the run."""
    behind = [stage for stage in Stage if stage not in {Stage.PROMPT, Stage.INPUT_IDS}]
    known = make_verdict({Stage.INPUT_IDS: 1.0}, not_compared=behind, kind=VerdictKind.KNOWN)
    assert [level for level, _ in list_rules(decide([AGREEING], [known]))] == [Level.FAILURE]


def test_a_new_difference_is_named_in_the_sentence() -> None:
    result = decide([AGREEING], [DIFFERING])
    assert result.sentence == (
        "The gate fails: new difference: vision (GELU): one_image · qwen2_vl · vllm (differs at vision)."
    )


def test_problems_of_the_run_fail_and_those_of_the_baseline_warn() -> None:
    changes = compare_verdicts([AGREEING], [AGREEING])
    result = decide_gate(changes, ["Shard a is incomplete."], ["Shard b is incomplete."])
    assert list_rules(result) == [
        (Level.FAILURE, "run problem"),
        (Level.WARNING, "baseline problem"),
    ]
    assert result.sentence == "The gate fails: run problem: Shard a is incomplete (1 warning)."


def test_an_empty_baseline_fails() -> None:
    assert list_rules(decide([], [AGREEING])) == [(Level.FAILURE, "empty baseline")]
    assert list_rules(decide([], [])) == [(Level.FAILURE, "empty baseline")]


def test_many_comparisons_are_one_reason() -> None:
    names = [f"case_{number}" for number in range(7)]
    result = decide(
        [make_verdict(case=name) for name in names], [make_verdict(VISION, case=name) for name in names]
    )
    (reason,) = result.reasons
    assert len(reason.changes) == len(names)
    assert reason.text.endswith("; and 4 more")


@given(st.lists(st.sampled_from([AGREEING, DIFFERING, KNOWN, make_failure()]), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_run_passes_against_itself(run: list[Verdict]) -> None:
    assert decide(run, run).passes
