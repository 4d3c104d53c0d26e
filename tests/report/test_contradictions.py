"""Contradictions of a verdict, within itself and with its shard, are named, and the run does not pass."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import conftest as records
from tests.report.conftest import RunBuilder
from vlm_parity.report.contradictions import find_contradictions
from vlm_parity.report.load_run import LoadedRun, load_run
from vlm_parity.schema.condition import Condition
from vlm_parity.schema.engine_setup import Depth, EntryPoint
from vlm_parity.schema.fuzz_findings import FUZZ_FILE, FuzzFinding, FuzzRecord, FuzzSummary
from vlm_parity.schema.media_source import ImageRecipe
from vlm_parity.schema.record import write_record
from vlm_parity.schema.repetition import Repetition
from vlm_parity.schema.run_layout import SHARD_RECORD, get_verdict_path
from vlm_parity.schema.trace import EncoderBudget, Outcome, Span, Stage
from vlm_parity.schema.verdict import DiffStatus, StageDiff, Verdict, VerdictKind

PROMPT = StageDiff(stage=Stage.PROMPT, status=DiffStatus.MISMATCH, message="differs")
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("prompt", "input_ids", "spans", "continuation", "greedy")),
    "arrays": (),
}
NOTHING_COMPARED = tuple(
    StageDiff(stage=stage, status=DiffStatus.NOT_COMPARED, message="so") for stage in Stage
)


def side(backend: str, **changes: Any) -> Any:
    return records.trace(backend, "one_image", **changes)


def failed(backend: str, outcome: Outcome) -> Any:
    return side(backend, outcome=outcome, message="no", **EMPTY)


def with_stage(stage: Stage, **changes: Any) -> Verdict:
    """Return a match with one stage changed."""
    match = records.verdict()
    stages = (diff.model_copy(update=changes if diff.stage is stage else {}) for diff in match.stages)
    return match.model_copy(update={"stages": tuple(stages)})


def with_metrics(stage: Stage, **metrics: float) -> Verdict:
    return with_stage(stage, metrics=metrics)


def on_given(stage: Stage, **metrics: float) -> StageDiff:
    return StageDiff(stage=stage, status=DiffStatus.MATCH, condition=Condition.FEATURES, metrics=metrics)


def behind_prompt(stage: Stage, conditioned: StageDiff) -> Verdict:
    """Return a mismatch of the prompt and of one stage behind it, which was compared on given values."""
    own = StageDiff(stage=stage, status=DiffStatus.MISMATCH, message="differs", consequence=True)
    own = own.model_copy(update={"conditioned": conditioned})
    match = records.verdict()
    stages = {diff.stage: diff for diff in match.stages} | {Stage.PROMPT: PROMPT, stage: own}
    return match.model_copy(
        update={
            "kind": VerdictKind.MISMATCH,
            "first_divergence": Stage.PROMPT,
            "stages": tuple(stages[each] for each in Stage),
        }
    )


def changed(**changes: Any) -> Verdict:
    return records.verdict().model_copy(update=changes)


def refused() -> Verdict:
    sides = {name: failed(backend, Outcome.REFUSED) for name, backend in SIDES.items()}
    return records.verdict(VerdictKind.REFUSED, stages=NOTHING_COMPARED, reason="both refuse it", **sides)


def match_of_wrong_budget() -> Verdict:
    medium = ImageRecipe(pattern="plain", size=(8, 8))
    budget = EncoderBudget(modality="image", tokens=4, medium=medium, condition="so")
    metrics: dict[str, float | int] = {"encoder_budget": 4, "actual": 3}
    diff = StageDiff(stage=Stage.ENCODER_BUDGET, status=DiffStatus.MATCH, metrics=metrics)
    return records.verdict(VerdictKind.MATCH, diff, tested=side("vllm", encoder_budget=budget))


SIDES = {"reference": "transformers", "tested": "vllm"}
MATCH = records.verdict()
MISMATCH = records.verdict(VerdictKind.MISMATCH, PROMPT, tested=side("vllm", prompt="other"))
AGREES = Repetition(outcome=Outcome.CAPTURED)
REPEATS = Repetition(outcome=Outcome.CAPTURED, first_divergence=Stage.PROMPT, is_identical=True)
NOT_FINITE = with_metrics(Stage.PREFILL, reference_not_finite=3, max_abs=math.nan)
RED = {
    "mismatch": MISMATCH,
    "mismatch that repeats": MISMATCH.model_copy(update={"repetitions": (REPEATS, REPEATS)}),
    "unstable": MISMATCH.model_copy(update={"kind": VerdictKind.UNSTABLE, "repetitions": (AGREES, REPEATS)}),
    "one side refuses": records.verdict(
        VerdictKind.MISMATCH,
        stages=NOTHING_COMPARED,
        reference=failed("transformers", Outcome.REFUSED),
        reason="transformers refuses it",
    ),
    "error": records.silent(VerdictKind.ERROR, "no"),
    "refused by the engine": records.silent(VerdictKind.ERROR, "no").model_copy(
        update={"tested": failed("vllm", Outcome.REFUSED)}
    ),
    "nothing compared": records.verdict(VerdictKind.ERROR, stages=NOTHING_COMPARED, reason="nothing"),
    "not repeatable": records.verdict(VerdictKind.ERROR, reason="not repeatable: ..."),
    "crash": records.silent(VerdictKind.CRASH, "signal 11"),
    "reference not captured": records.verdict(
        VerdictKind.INVALID, stages=NOTHING_COMPARED, reference=failed("transformers", Outcome.ERROR)
    ),
    "reference not finite": NOT_FINITE.model_copy(update={"kind": VerdictKind.INVALID, "reason": "NaN"}),
    "harness error of the engine": records.silent(VerdictKind.HARNESS_ERROR, "KeyError"),
    "harness error of the reference": records.silent(VerdictKind.UNSUPPORTED, "no").model_copy(
        update={
            "kind": VerdictKind.HARNESS_ERROR,
            "reference": failed("transformers", Outcome.HARNESS_ERROR),
        }
    ),
    "harness error after the comparison": records.verdict(VerdictKind.HARNESS_ERROR, reason="KeyError"),
    "fixed": records.verdict(VerdictKind.FIXED, known="an issue", reason="no mismatch"),
    "fixed refusal": refused().model_copy(update={"kind": VerdictKind.FIXED, "known": "an issue"}),
}
GREEN = {
    "match": MATCH,
    "known": MISMATCH.model_copy(update={"kind": VerdictKind.KNOWN, "known": "an issue"}),
    "known error": records.silent(VerdictKind.KNOWN, "no", known="an issue"),
    "refused": refused(),
    "unsupported": records.silent(VerdictKind.UNSUPPORTED, "no"),
}


def load(folder: Path, *verdicts: Verdict, **shard: Any) -> LoadedRun:
    """Write a run with some verdicts and a match, and load it."""
    builder = RunBuilder(folder)
    builder.shard(records.verdict(case="another"), *verdicts, **shard)
    return load_run(folder)


@pytest.mark.parametrize("name", [*RED, *GREEN])
def test_a_verdict_of_each_kind_is_consistent(tmp_path: Path, name: str) -> None:
    run = load(tmp_path, (RED | GREEN)[name])
    assert run.problems == ()
    assert run.passes == (name in GREEN)


WRONG = {
    "a match with a differing stage": (
        MISMATCH.model_copy(update={"kind": VerdictKind.MATCH}),
        "a match with a",
    ),
    "a refusal with a differing stage": (
        MISMATCH.model_copy(update={"kind": VerdictKind.REFUSED}),
        "is refused with a stage that mismatches",
    ),
    "unsupported with a differing stage": (
        MISMATCH.model_copy(update={"kind": VerdictKind.UNSUPPORTED}),
        "is unsupported with a stage that mismatches",
    ),
    "a match with nothing compared": (changed(stages=NOTHING_COMPARED), "without a compared stage"),
    "a refusal with a comparison": (
        refused().model_copy(update={"stages": MATCH.stages}),
        "is refused with a compared stage",
    ),
    "known without a difference": (
        changed(kind=VerdictKind.KNOWN, known="an issue"),
        "known without a stage",
    ),
    "a mismatch that comes and goes": (
        MISMATCH.model_copy(update={"repetitions": (AGREES,)}),
        "is a mismatch, but a repeated pass differs elsewhere or not at all",
    ),
    "an unstable difference that repeats": (
        MISMATCH.model_copy(update={"kind": VerdictKind.UNSTABLE, "repetitions": (REPEATS,)}),
        "is unstable, but all passes differ first at the same stage",
    ),
    "a match that is repeated": (
        changed(repetitions=(REPEATS,)),
        "repeats a case that does not differ",
    ),
    "known without an issue": (
        MISMATCH.model_copy(update={"kind": VerdictKind.KNOWN}),
        "is known, but names no known issue",
    ),
    "a match with an issue": (changed(known="an issue"), "is match, but names a known issue"),
    "a match with a reason": (changed(reason="not repeatable"), "is a match, but states a reason"),
    "a match of a crash": (changed(tested=failed("vllm", Outcome.CRASH)), "the outcome of vllm is crash"),
    "a match without a reference": (
        changed(reference=failed("transformers", Outcome.ERROR)),
        "the outcome of the reference is error",
    ),
    "a refusal of one side": (
        refused().model_copy(update={"reference": side("transformers")}),
        "the outcome of the reference is captured",
    ),
    "another first divergence": (
        MISMATCH.model_copy(update={"first_divergence": Stage.SPANS}),
        "names spans as the first stage that differs, instead of prompt",
    ),
    "a consequence of nothing": (with_stage(Stage.PROMPT, consequence=True), "marks prompt as a consequence"),
    "a later difference that is no consequence": (
        MISMATCH.model_copy(
            update={
                "stages": (PROMPT, PROMPT.model_copy(update={"stage": Stage.INPUT_IDS}), *MATCH.stages[2:])
            }
        ),
        "does not mark input_ids as a consequence",
    ),
    "a comparison on given values without a reason": (
        with_stage(Stage.PREFILL, conditioned=on_given(Stage.PREFILL)),
        "compares prefill on given values, although no earlier difference reaches it",
    ),
    "a comparison on what was given": (
        behind_prompt(Stage.INPUT_IDS, on_given(Stage.INPUT_IDS)),
        "compares input_ids on given values, although no earlier difference reaches it",
    ),
    "another stage on given values": (
        behind_prompt(Stage.PREFILL, on_given(Stage.DECODE)),
        "compares decode on given values in the place of prefill",
    ),
    "a match beyond the limit on given values": (
        behind_prompt(Stage.PREFILL, on_given(Stage.PREFILL, limit_ratio=1.5)).model_copy(
            update={"kind": VerdictKind.KNOWN}
        ),
        "has a match at prefill on given values with limit_ratio 1.5",
    ),
    "no reason for a gap": (
        with_stage(Stage.MEDIA, message=""),
        "did not compare media and states no reason",
    ),
    "a stage that was not captured": (
        with_stage(Stage.VISION, status=DiffStatus.MATCH),
        "compares vision, which the trace of vllm lacks",
    ),
    "an array that the trace does not name": (
        changed(tested=side("vllm", arrays=("prefill",))),
        "compares decode, which the trace of vllm lacks",
    ),
    "a gap that the trace does not explain": (
        changed(tested=side("vllm", not_captured={})),
        "lacks media and states no reason",
    ),
    "outputs without an engine": (
        changed(depth=Depth.TOKENS, tested=side("vllm", depth=Depth.TOKENS)),
        "compares prefill at the depth tokens",
    ),
    "NaN in a match": (with_metrics(Stage.PREFILL, max_abs=math.nan), "match at prefill with max_abs nan"),
    "infinity in a match": (with_metrics(Stage.PREFILL, kl_max=math.inf), "match at prefill with kl_max inf"),
    "differences in a match": (
        with_metrics(Stage.INPUT_IDS, different=2),
        "match at input_ids with different 2",
    ),
    "a match beyond the limit": (with_metrics(Stage.DECODE, limit_ratio=1.5), "with limit_ratio 1.5"),
    "a match of two lengths": (
        with_metrics(Stage.PROMPT, reference_length=2, tested_length=3),
        "reference_length 2 and tested_length 3",
    ),
    "a row beyond the limit in a match": (
        with_stage(Stage.PREFILL, evidence=records.logits(Stage.PREFILL, [1.0], first=0).evidence),
        "match at prefill with positions beyond the limit",
    ),
    "unequal ids in a match": (
        with_stage(Stage.INPUT_IDS, evidence=records.wrong_ids().evidence),
        "match at input_ids with ids that differ",
    ),
    "two prompts that match": (
        changed(tested=side("vllm", prompt="other")),
        "match at prompt, which differs",
    ),
    "another case": (changed(tested=side("vllm", case="other")), "holds a trace of another case: 'other'"),
    "another model": (
        changed(reference=side("transformers", model="b")),
        "a reference of another model: 'b'",
    ),
    "another backend": (changed(tested=side("lmdeploy")), "holds a trace of another backend: 'lmdeploy'"),
    "another mode": (
        changed(tested=side("vllm", mode="batched")),
        "holds a trace of another mode: 'batched'",
    ),
    "another entry point": (
        changed(tested=side("vllm", entry_point=EntryPoint.TEXT)),
        "holds a trace of another entry point",
    ),
    "the engine as its own reference": (changed(reference=side("vllm")), "has 'vllm' as the reference"),
    "two cases of one name": (
        changed(tested=side("vllm", case_digest="1" * 64)),
        "compares two different cases of that name",
    ),
    "another case than the shard's": (
        changed(**{name: side(backend, case_digest="1" * 64) for name, backend in SIDES.items()}),
        "compares another case than the shard's of that name",
    ),
    "an unknown schema version of a trace": (
        changed(tested=side("vllm", schema_version=99)),
        "holds a trace of vllm of schema version 99",
    ),
    "a span outside of the prompt": (
        changed(tested=side("vllm", spans=(Span(modality="image", item=0, runs=((0, 10**12),)),))),
        "the span of image 0 does not fit a prompt of 124 positions",
    ),
    "a span of no length": (
        changed(tested=side("vllm", spans=(Span(modality="image", item=0, runs=((5, 3),)),))),
        "the span of image 0 does not fit",
    ),
    "a span of an unknown prompt": (
        changed(tested=side("vllm", input_ids=None, spans=(Span.of("image", 0, [2**25]),))),
        "does not fit a prompt of 16777216 positions",
    ),
    "a wrong encoder budget": (match_of_wrong_budget(), "encoder_budget 4 and actual 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_contradiction_is_named(tmp_path: Path, name: str) -> None:
    verdict, phrase = WRONG[name]
    run = load(tmp_path, verdict)
    assert any(phrase in problem for problem in run.problems), run.problems
    assert not run.passes


def test_names_of_a_shard_that_it_does_not_have(tmp_path: Path) -> None:
    for field, changes in (
        ("case", {"cases": {"another": records.case("another")}}),
        ("model", {"models": {}}),
        ("backend", {"backends": ("lmdeploy",)}),
    ):
        run = load(tmp_path / field, MATCH, **changes)
        assert any(f"is on the {field} " in problem for problem in run.problems), run.problems
        assert not run.passes


@pytest.mark.parametrize("name", ["two.json", "more/one_image.json", "../one_image.json"])
def test_file_of_another_verdict(tmp_path: Path, name: str) -> None:
    load(tmp_path, MATCH)
    path = get_verdict_path(tmp_path / "shards" / "vllm", MATCH)
    moved = (path.parent / name).resolve()
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    run = load_run(tmp_path)
    assert run.problems[0].endswith("holds the verdict of verdicts/qwen2_5_vl/vllm/one_image.json")
    assert not run.passes


@pytest.mark.parametrize("holder", ["verdict", "shard"])
@pytest.mark.parametrize("version", [4, 99])
def test_unknown_schema_version(tmp_path: Path, holder: str, version: int) -> None:
    load(tmp_path, MATCH)
    shard = tmp_path / "shards" / "vllm"
    path = get_verdict_path(shard, MATCH) if holder == "verdict" else shard / SHARD_RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    run = load_run(tmp_path)
    assert f"of schema version {version}, but this version of vlm-parity reads" in run.problems[0]
    assert not run.passes


def test_known_issue_that_the_shard_did_not_apply(tmp_path: Path) -> None:
    run = load(tmp_path, GREEN["known"], issue_descriptions={"other": "another issue"})
    assert any("names a known issue that the shard did not apply" in text for text in run.problems)
    both = GREEN["known"].model_copy(update={"known": "first\nof two lines\nsecond"})
    descriptions = {"a": "second", "b": "first\nof two lines"}
    assert load(tmp_path / "both", both, issue_descriptions=descriptions).passes


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"finished": "2026-03-01T08:00:00Z"}, "finished at 2026-03-01T08:00:00Z, before it started"),
        ({"started": "yesterday"}, "has no time from 'yesterday'"),
        ({"finished": "2026-03-01"}, "has no time from"),
        (
            {"cases": {"one_image": records.case("other"), "another": records.case("another")}},
            "as 'one_image'",
        ),
    ],
)
def test_contradiction_of_a_shard(tmp_path: Path, changes: dict[str, Any], phrase: str) -> None:
    run = load(tmp_path, MATCH, **changes)
    assert any(phrase in problem for problem in run.problems), run.problems
    assert not run.passes


def test_shard_in_a_folder_of_another_name(tmp_path: Path) -> None:
    load(tmp_path, MATCH)
    for name, is_known in (("vllm-2", True), ("lmdeploy", False)):
        (folder,) = (tmp_path / "shards").iterdir()
        folder.rename(folder.with_name(name))
        assert load_run(tmp_path).passes == is_known


def test_comparisons_that_failed_fail_the_run(tmp_path: Path) -> None:
    run = load(tmp_path, MATCH, failures={"qwen2_5_vl vllm": "OSError: disk full"})
    assert not run.passes
    assert "disk full" in run.shards[0].incomplete_reason


FUZZED = FuzzSummary(model="qwen2_5_vl", backend="vllm", profile="ci", seed=1, examples=20, finished=True)
FINDING = FuzzFinding(
    model="qwen2_5_vl", backend="vllm", failed_property="prompt", cause="", case="one_image", shard="vllm",
    kind=VerdictKind.KNOWN, message="differs", seed=1, examples=3, reproduce="pytest",
)  # fmt: skip


@pytest.mark.parametrize(
    ("examples", "findings", "problem"),
    [
        (20, (FINDING,), None),
        (21, (FINDING,), "vllm: 21 fuzzed examples, but fuzz.json has 20"),
        (20, (FINDING.model_copy(update={"case": "x"}),), "vllm: no verdict on the finding 'x' in fuzz.json"),
    ],
)
def test_contradiction_of_the_fuzzer(
    tmp_path: Path, examples: int, findings: tuple[FuzzFinding, ...], problem: str | None
) -> None:
    load(tmp_path, GREEN["known"], examples=examples, fuzz_targets=1)
    write_record(tmp_path / "shards/vllm" / FUZZ_FILE, FuzzRecord(fuzzed=(FUZZED,), findings=findings))
    run = load_run(tmp_path)
    assert run.problems == ((problem,) if problem else ())
    assert run.passes == (problem is None)


def test_shard_that_is_there_twice(tmp_path: Path) -> None:
    shard = RunBuilder(tmp_path).shard(MATCH)
    shutil.copytree(shard, shard.with_name("vllm-2"))
    run = load_run(tmp_path)
    assert run.problems == ("vllm-2: the same session as vllm",)
    assert not run.passes


# A single change never turns a run that fails into one that passes.


def list_leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values but single ids, tokens and numbers of evidence."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        if key not in {"vocabulary", "input_ids", "evidence"}:
            yield from list_leaves(value, (*path, key))


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [*map(str, VerdictKind), *map(str, DiffStatus), *map(str, Outcome), *map(str, Stage)]
) | (st.sampled_from(["", "an issue", "vllm", "tokens", "NaN", None, True, False, 0, 1, 5, 99, 1e9, [], {}]))


@given(st.data(), st.sampled_from(sorted(RED)))
def test_no_single_change_makes_a_failing_verdict_pass(data: st.DataObject, name: str) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        assert not load(folder, RED[name]).passes
        shard = folder / "shards" / "vllm"
        path = data.draw(st.sampled_from([get_verdict_path(shard, RED[name]), shard / SHARD_RECORD]))
        content = json.loads(path.read_text())
        *parents, last = data.draw(st.sampled_from([("kind",), *list_leaves(content)]))
        holder = content
        for key in parents:
            holder = holder[key]
        if last not in (holder if isinstance(holder, dict) else range(len(holder))):
            return
        holder[last] = data.draw(VALUES)
        path.write_text(json.dumps(content))
        run = load_run(folder)
        assert run.problems or not run.passes


@given(st.sampled_from(sorted(RED | GREEN)), st.sampled_from(list(VerdictKind)))
def test_another_kind_is_a_contradiction_or_fails(name: str, kind: VerdictKind) -> None:
    verdict = (RED | GREEN)[name]
    other = verdict.model_copy(update={"kind": kind})
    assert kind is verdict.kind or not kind.passes or list(find_contradictions(other))
