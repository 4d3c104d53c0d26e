"""Each comparison of two runs belongs to one class, and is worse only if the run lost something."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.traces import make_failed_trace
from tests.support.verdicts import FAILURES, compare_verdicts, make_failure, make_verdict
from vlm_parity.changes.classify import Change, ChangeClass, list_changes
from vlm_parity.changes.comparison import Comparison
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.location import Location, ModuleDifference
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.trace import EncoderBudget, Outcome, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind

SWAPPED = {
    ChangeClass.FIXED: {ChangeClass.NEW},
    ChangeClass.NEW: {ChangeClass.FIXED, ChangeClass.FEWER_STAGES},
    ChangeClass.LOST: {ChangeClass.RESTORED},
    ChangeClass.RESTORED: {ChangeClass.LOST},
    ChangeClass.ADDED: {ChangeClass.REMOVED},
    ChangeClass.REMOVED: {ChangeClass.ADDED},
    ChangeClass.FEWER_STAGES: {ChangeClass.FEWER_STAGES, ChangeClass.MORE_STAGES, ChangeClass.NEW},
    ChangeClass.MORE_STAGES: {ChangeClass.FEWER_STAGES},
}
"""The classes after a swap of run and baseline; the others stay as they are."""
VISION = {Stage.VISION: 50.0}


def compare(before: Verdict, after: Verdict, factor: float = 2.0) -> Change:
    (change,) = compare_verdicts([before], [after], factor)
    return change


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    name: dict[str, Any] = {
        "case": draw(st.sampled_from(["one_image", "two_images"])),
        "model": draw(st.sampled_from(["qwen2_vl", "qwen3_vl"])),
    }
    if draw(st.booleans()):
        return make_failure(draw(st.sampled_from(FAILURES)), **name)
    stages = st.sampled_from([Stage.PROMPT, Stage.VISION, Stage.DECODE])
    return make_verdict(
        draw(st.dictionaries(stages, st.sampled_from([1.5, 40.0, math.inf, math.nan]))),
        causes=draw(st.dictionaries(stages, st.sampled_from(["GELU", "norm"]))),
        not_compared=draw(st.sets(stages)),
        case_digest=draw(st.sampled_from(["a", "b"])),
        **name,
    )


runs = st.lists(verdicts(), max_size=6)


@given(runs)
@settings(deadline=None)
def test_a_run_against_itself_has_no_change(run: list[Verdict]) -> None:
    for change in compare_verdicts(run, run[::-1]):
        assert change.kind in {ChangeClass.UNCHANGED, ChangeClass.NOT_COMPARED}
        assert not change.is_worse
        assert not change.remarks


@given(runs, runs)
@settings(deadline=None)
def test_the_classes_partition_the_comparisons_of_both_runs(
    baseline: list[Verdict], run: list[Verdict]
) -> None:
    changes = compare_verdicts(baseline, run)
    for verdicts, found in (
        (baseline, [change.baseline for change in changes]),
        (run, [change.run for change in changes]),
    ):
        kept = [repr(each) for each in found if each is not None]
        assert Counter(kept) == Counter(repr(Comparison.of(verdict)) for verdict in verdicts)
    for change in changes:
        is_pair = change.baseline is not None and change.run is not None
        assert is_pair == (change.kind not in {ChangeClass.ADDED, ChangeClass.REMOVED})
        if change.baseline is not None and change.run is not None:
            is_same = change.baseline.identity == change.run.identity
            assert is_same == (change.kind is not ChangeClass.EDITED)


@given(runs, runs)
@settings(deadline=None)
def test_a_swap_of_the_runs_swaps_new_and_fixed(baseline: list[Verdict], run: list[Verdict]) -> None:
    def index(changes: tuple[Change, ...]) -> Counter[tuple[frozenset[str], ChangeClass]]:
        return Counter(
            (frozenset(repr(each) for each in (change.baseline, change.run) if each), change.kind)
            for change in changes
        )

    forward, backward = index(compare_verdicts(baseline, run)), index(compare_verdicts(run, baseline))
    assert Counter(pair for pair, _ in forward.elements()) == Counter(pair for pair, _ in backward.elements())
    for pair, kind in forward:
        swapped = {each for other, each in backward if other == pair}
        assert swapped & SWAPPED.get(kind, {kind})


def test_new_and_fixed() -> None:
    agreeing, differing = make_verdict(), make_verdict(VISION, causes={Stage.VISION: "GELU"})
    new, fixed = compare(agreeing, differing), compare(differing, agreeing)
    assert (new.kind, new.is_worse, new.stage, new.cause) == (ChangeClass.NEW, True, "vision", "GELU")
    assert (fixed.kind, fixed.is_worse, fixed.stage) == (ChangeClass.FIXED, False, "vision")


def test_a_known_difference_is_the_same_difference() -> None:
    known = make_verdict(VISION, kind=VerdictKind.KNOWN)
    assert compare(make_verdict(VISION), known).kind is ChangeClass.UNCHANGED
    change = compare(known, make_verdict(VISION))
    assert change.kind is ChangeClass.UNCHANGED
    assert [remark.rule for remark in change.remarks] == ["no longer known"]


def test_a_fixed_known_issue_agrees() -> None:
    change = compare(make_verdict(VISION, kind=VerdictKind.KNOWN), make_verdict(kind=VerdictKind.FIXED))
    assert (change.kind, change.is_worse) == (ChangeClass.FIXED, False)


@pytest.mark.parametrize(
    ("after", "detail", "is_worse"),
    [
        (make_verdict({Stage.PROMPT: 1}), "differs at prompt", True),
        (make_verdict({**VISION, Stage.DECODE: 5}), "differs at decode", True),
        (make_verdict(VISION, causes={Stage.VISION: "GELU"}), "another cause at vision", True),
        (make_verdict({Stage.VISION: 101.0}), "larger at vision: 50 -> 101 of the limit", True),
        (make_verdict({Stage.VISION: math.nan}), "larger at vision: 50 -> infinity of the limit", True),
        (make_verdict({Stage.VISION: 24.0}), "smaller at vision: 50 -> 24 of the limit", False),
    ],
)
def test_changed_difference(after: Verdict, detail: str, is_worse: bool) -> None:
    change = compare(make_verdict(VISION), after)
    assert (change.kind, change.is_worse) == (ChangeClass.CHANGED, is_worse)
    assert any(text.startswith(detail) for text in change.details)


@pytest.mark.parametrize("size", [100.0, 25.0, 50.0])
def test_a_size_within_the_factor_is_no_change(size: float) -> None:
    assert compare(make_verdict(VISION), make_verdict({Stage.VISION: size})).kind is ChangeClass.UNCHANGED


def test_one_difference_of_two_that_is_gone_is_an_improvement() -> None:
    change = compare(make_verdict({**VISION, Stage.DECODE: 5}), make_verdict(VISION))
    assert (change.kind, change.is_worse) == (ChangeClass.CHANGED, False)
    assert change.details == ("no longer differs at decode",)


def test_a_difference_whose_stage_is_not_judged_any_more_is_not_fixed() -> None:
    change = compare(make_verdict(VISION), make_verdict(not_compared=[Stage.VISION]))
    assert (change.kind, change.is_worse) == (ChangeClass.FEWER_STAGES, True)
    assert "no longer differs at vision, which was not judged" in change.details


def test_a_match_on_fewer_stages_is_worse_and_on_more_is_not() -> None:
    narrow, wide = make_verdict(not_compared=[Stage.VISION]), make_verdict()
    assert [(each.kind, each.is_worse) for each in (compare(wide, narrow), compare(narrow, wide))] == [
        (ChangeClass.FEWER_STAGES, True),
        (ChangeClass.MORE_STAGES, False),
    ]


def test_a_consequence_is_not_judged_unless_on_given_values() -> None:
    def behind(conditioned: StageDiff | None) -> Verdict:
        stages = tuple(
            diff.model_copy(
                update={"status": DiffStatus.MISMATCH, "consequence": True, "conditioned": conditioned}
            )
            if diff.stage is Stage.DECODE
            else diff
            for diff in make_verdict(VISION).stages
        )
        return make_verdict(VISION, stages=stages)

    given_values = StageDiff(stage=Stage.DECODE, status=DiffStatus.MATCH, condition=Condition.MEDIA)
    change = compare(behind(given_values), behind(None))
    assert (change.kind, change.is_worse) == (ChangeClass.FEWER_STAGES, True)
    assert change.details == ("no longer judged: decode",)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_lost_comparison(kind: VerdictKind) -> None:
    lost = compare(make_verdict(VISION), make_failure(kind))
    assert (lost.kind, lost.is_worse, lost.stage, lost.cause) == (ChangeClass.LOST, True, "", kind)
    assert lost.details == (f"mismatch -> {kind}: signal 9",)
    restored = compare(make_failure(kind), make_verdict())
    assert (restored.kind, restored.is_worse) == (ChangeClass.RESTORED, False)
    differing = compare(make_failure(kind), make_verdict(VISION))
    assert (differing.kind, differing.is_worse) == (ChangeClass.RESTORED, True)


def test_a_known_failure_of_the_engine_is_no_comparison() -> None:
    known = make_failure(VerdictKind.CRASH).model_copy(update={"kind": VerdictKind.KNOWN})
    assert compare(known, known).kind is ChangeClass.NOT_COMPARED
    change = compare(known, make_failure(VerdictKind.CRASH))
    assert (change.kind, change.is_worse) == (ChangeClass.NOT_COMPARED, True)


def test_a_refusal_is_a_difference() -> None:
    refused = make_failed_trace(Outcome.REFUSED, "transformers")
    verdict = make_verdict(not_compared=tuple(Stage), kind=VerdictKind.MISMATCH, reference=refused)
    assert compare(verdict, verdict.model_copy(update={"kind": VerdictKind.KNOWN})).kind is (
        ChangeClass.UNCHANGED
    )
    both = verdict.model_copy(update={"kind": VerdictKind.REFUSED})
    assert (compare(both, verdict).kind, compare(both, verdict).stage) == (ChangeClass.NEW, "refusal")


def test_an_edited_case_is_a_new_comparison() -> None:
    before = make_verdict(VISION, case_digest="a")
    edited = compare(before, make_verdict(VISION, case_digest="b"))
    assert (edited.kind, edited.is_worse) == (ChangeClass.EDITED, True)
    assert "edited" in edited.details[0]
    assert not compare(before, make_verdict(case_digest="b")).is_worse
    crashed = make_failure(VerdictKind.UNSUPPORTED)
    assert compare(before, crashed).is_worse, "it was compared before"


def list_kinds(before: Iterable[Comparison], after: Iterable[Comparison]) -> list[tuple[ChangeClass, bool]]:
    return [(change.kind, change.is_worse) for change in list_changes(before, after)]


def test_another_checkpoint_of_the_name_is_a_new_comparison() -> None:
    before, after = Comparison.of(make_verdict(), "a"), Comparison.of(make_verdict(VISION), "b")
    assert list_kinds([before], [after]) == [(ChangeClass.OTHER_CHECKPOINT, True)]
    assert list_kinds([after], [before]) == [(ChangeClass.OTHER_CHECKPOINT, False)]
    crashed = Comparison.of(make_failure(VerdictKind.UNSUPPORTED), "b")
    assert list_kinds([before], [crashed]) == [(ChangeClass.OTHER_CHECKPOINT, True)], "it was compared before"
    edited = Comparison.of(make_verdict(case_digest="b"), "b")
    assert list_kinds([before], [edited]) == [(ChangeClass.EDITED, False)]


@pytest.mark.parametrize("checkpoints", [("a", ""), ("", "a"), ("a", "a")])
def test_an_unknown_checkpoint_may_be_any(checkpoints: tuple[str, str]) -> None:
    before, after = (
        Comparison.of(make_verdict(), checkpoints[0]),
        Comparison.of(make_verdict(VISION), checkpoints[1]),
    )
    assert list_kinds([before], [after]) == [(ChangeClass.NEW, True)]


def test_the_comparison_with_fewer_other_digests_is_the_counterpart() -> None:
    before = Comparison.of(make_verdict(case_digest="a"), "a")
    edited = Comparison.of(make_verdict(VISION, case_digest="b"), "a")
    unknown = Comparison.of(make_verdict(case_digest="a"), "")
    for run in ([edited, unknown], [unknown, edited]):
        assert list_kinds([before], run) == [(ChangeClass.ADDED, True), (ChangeClass.UNCHANGED, False)]


def test_another_largest_medium_of_the_engine_is_no_edit() -> None:
    def sized(width: int, digest: str) -> Verdict:
        medium = ImageRecipe(pattern="plain", size=(width, 56))
        budget = EncoderBudget(modality="image", tokens=4, medium=medium, condition="at 64")
        verdict = make_verdict(case_digest=digest)
        update = {"encoder_budget": budget, "max_size_modality": "image"}
        return verdict.model_copy(update={"tested": verdict.tested.model_copy(update=update)})

    change = compare(sized(56, "a"), sized(84, "b"))
    assert change.kind is ChangeClass.UNCHANGED
    assert [remark.rule for remark in change.remarks] == ["another largest medium"]
    assert compare(sized(56, "a"), make_failure()).kind is ChangeClass.LOST, "its digest is that of the file"


@pytest.mark.parametrize(
    "other",
    [
        make_verdict(environment={"dtype": "bfloat16"}),
        make_verdict(environment={"device": "cuda"}),
        make_verdict(mode="batched"),
        make_verdict(depth="tokens"),
        make_verdict(entry_point="text"),
        make_verdict(backend="lmdeploy"),
    ],
)
def test_another_setup_is_another_comparison(other: Verdict) -> None:
    changes = compare_verdicts([make_verdict()], [other])
    assert [change.kind for change in changes] == [ChangeClass.REMOVED, ChangeClass.ADDED]
    assert [change.is_worse for change in changes] == [True, False]


def test_an_added_comparison_that_differs_is_worse_unless_it_is_known() -> None:
    def add(verdict: Verdict) -> Change:
        (change,) = compare_verdicts([], [verdict])
        return change

    assert add(make_verdict(VISION)).is_worse
    assert not add(make_verdict(VISION, kind=VerdictKind.KNOWN)).is_worse


def test_comparisons_that_occur_twice_are_paired_by_rank() -> None:
    agreeing, differing = make_verdict(), make_verdict(VISION)
    changes = compare_verdicts([agreeing, differing], [differing, differing])
    assert Counter(change.kind for change in changes) == {ChangeClass.UNCHANGED: 1, ChangeClass.NEW: 1}
    changes = compare_verdicts([agreeing], [agreeing, differing])
    assert {change.kind for change in changes} == {ChangeClass.NEW, ChangeClass.ADDED}


def test_a_margin_that_grows_is_a_remark() -> None:
    def grow(before: float, after: float) -> list[str]:
        change = compare(
            make_verdict(margins={Stage.PREFILL: before}), make_verdict(margins={Stage.PREFILL: after})
        )
        assert change.kind is ChangeClass.UNCHANGED
        return [remark.text for remark in change.remarks]

    assert grow(0.2, 0.5) == ["prefill matches at 0.2 -> 0.5 of the limit"]
    assert grow(0.2, 0.4) == []
    assert grow(0.001, 0.09) == [], "far from the limit"


def test_another_module() -> None:
    def located(module: str) -> Verdict:
        found = ModuleDifference(
            module=module, class_path="torch.nn.GELU", point="output", distance=1, noise=0, limit_ratio=9
        )
        return make_verdict(VISION, locations=(Location(stages=(Stage.VISION,), differences=(found,)),))

    change = compare(located("visual.blocks.0.act"), located("visual.blocks.1.norm"))
    assert (change.kind, change.is_worse) == (ChangeClass.CHANGED, True)
    assert change.details == ("another module: visual.blocks.0.act, output -> visual.blocks.1.norm, output",)
    assert compare(make_verdict(VISION), located("visual")).kind is ChangeClass.UNCHANGED
