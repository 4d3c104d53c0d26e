"""Verdicts: one word for what the diffs of a case amount to, and one sentence why."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest

from tests.support.traces import (
    ARRAYS,
    DECODE,
    IDS,
    NOTHING,
    PREFILL,
    TraceFiles,
    make_failed_trace,
    make_trace,
)
from vlm_parity.diff.compare import STAGE_DIFFS
from vlm_parity.schema.engine_setup import Depth
from vlm_parity.schema.trace import Outcome, Span, Stage
from vlm_parity.schema.verdict import DiffStatus, Verdict, VerdictKind

CAPTURED = Outcome.CAPTURED


def test_agreement_in_everything_is_a_match(trace_files: TraceFiles) -> None:
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.reason, verdict.first_divergence) == (VerdictKind.MATCH, "", None)


def test_a_verdict_names_what_it_is_about_and_how_to_make_it_again(trace_files: TraceFiles) -> None:
    verdict = trace_files.decide_verdict()
    assert (verdict.case, verdict.model, verdict.backend) == ("one_image", "qwen2_vl", "vllm")
    assert verdict.depth is Depth.LOGITS
    assert verdict.reproduce == "pytest cases --case one_image"
    assert (verdict.reference, verdict.tested) == (make_trace("transformers"), make_trace())


def test_the_first_difference_is_the_finding_and_later_ones_its_consequences(trace_files: TraceFiles) -> None:
    trace_files.write(trace_files.tested, make_trace(prompt="other", input_ids=(1, 2), greedy=(1, 2, 3)))
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.PROMPT)
    assert verdict.reason == "prompts differ at character 0"
    consequences = {diff.stage for diff in verdict.stages if diff.consequence}
    assert consequences == {Stage.INPUT_IDS, Stage.GREEDY}


def both(reference: Outcome, tested: Outcome, trace_files: TraceFiles) -> Verdict:
    for folder, name, outcome in (
        (trace_files.reference, "transformers", reference),
        (trace_files.tested, "vllm", tested),
    ):
        trace_files.write(
            folder,
            make_trace(name) if outcome is CAPTURED else make_failed_trace(outcome, name, f"{name} said"),
        )
    return trace_files.decide_verdict()


@pytest.mark.parametrize(
    ("reference", "tested", "kind", "reason"),
    [
        ("captured", "unsupported", "unsupported", "vllm said"),
        ("captured", "refused", "error", "vllm said"),
        ("captured", "error", "error", "vllm said"),
        ("captured", "crash", "crash", "vllm said"),
        (
            "refused",
            "refused",
            "refused",
            "both refuse it\ntransformers: transformers said\nvllm: vllm said",
        ),
        ("refused", "captured", "mismatch", "transformers refuses it, vllm accepts it: transformers said"),
        ("refused", "unsupported", "unsupported", "vllm said"),
        ("refused", "error", "error", "vllm said"),
        ("refused", "crash", "crash", "vllm said"),
        ("error", "captured", "invalid", "the reference was not captured: error: transformers said"),
        ("crash", "captured", "invalid", "the reference was not captured: crash: transformers said"),
        (
            "unsupported",
            "captured",
            "invalid",
            "the reference was not captured: unsupported: transformers said",
        ),
        ("error", "error", "error", "vllm said"),
        ("crash", "unsupported", "unsupported", "vllm said"),
        ("invalid", "invalid", "invalid", "vllm said"),
        ("captured", "harness_error", "harness_error", "the harness failed while capturing vllm: vllm said"),
        ("refused", "harness_error", "harness_error", "the harness failed while capturing vllm: vllm said"),
        *(
            (
                "harness_error",
                tested,
                "harness_error",
                "the harness failed while capturing transformers: transformers said",
            )
            for tested in ("captured", "refused", "unsupported", "crash", "harness_error")
        ),
    ],
)
def test_outcomes(reference: str, tested: str, kind: str, reason: str, trace_files: TraceFiles) -> None:
    verdict = both(Outcome(reference), Outcome(tested), trace_files)
    assert (verdict.kind, verdict.reason) == (kind, reason)


@pytest.mark.parametrize("reference", Outcome)
@pytest.mark.parametrize("tested", Outcome)
def test_nothing_passes_unless_both_sides_did_the_same_or_the_backend_says_no(
    reference: Outcome, tested: Outcome, trace_files: TraceFiles
) -> None:
    may_pass = reference is tested and tested in {CAPTURED, Outcome.REFUSED}
    is_unsupported = tested is Outcome.UNSUPPORTED and reference is not Outcome.HARNESS_ERROR
    verdict = both(reference, tested, trace_files)
    assert verdict.kind.passes == (may_pass or is_unsupported)
    assert verdict.reason or verdict.kind is VerdictKind.MATCH


def test_inputs_that_differ_before_a_backend_says_no_are_a_mismatch(trace_files: TraceFiles) -> None:
    answer: dict[str, Any] = {
        "outcome": Outcome.UNSUPPORTED,
        "message": "no logits",
        "greedy": None,
        "continuation": None,
    }
    front_end = {name: array for name, array in ARRAYS.items() if name not in {"vision", "prefill", "decode"}}
    trace_files.write(trace_files.tested, make_trace(**answer), front_end)
    assert trace_files.decide_verdict().kind is VerdictKind.UNSUPPORTED
    trace_files.write(trace_files.tested, make_trace(**answer, prompt="other"), front_end)
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.PROMPT)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("stage", "good"), [("prefill", PREFILL), ("decode", DECODE)])
def test_a_reference_that_is_no_number_is_no_measure(
    trace_files: TraceFiles, stage: str, good: np.ndarray, bad: float
) -> None:
    ill = good.copy()
    ill[1, 3] = bad
    trace_files.write(trace_files.reference, make_trace("transformers"), {**ARRAYS, stage: ill})
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, stage: ill})
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.reason) == (
        VerdictKind.INVALID,
        f"the reference is not valid: its {stage} is not finite at 1 positions",
    )


def test_a_backend_that_answers_no_number_is_a_mismatch(trace_files: TraceFiles) -> None:
    ill = PREFILL.copy()
    ill[1, 3] = np.nan
    trace_files.write(trace_files.tested, make_trace(), {**ARRAYS, "prefill": ill})
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.first_divergence) == (VerdictKind.MISMATCH, Stage.PREFILL)
    assert "worst at position 1; max abs inf" in verdict.stage(Stage.PREFILL).message


def test_a_reference_that_is_fed_ids_outside_of_its_vocabulary_is_no_measure(trace_files: TraceFiles) -> None:
    ids = (*IDS[:-1], 32)
    trace_files.write(trace_files.reference, make_trace("transformers", input_ids=ids))
    trace_files.write(trace_files.tested, make_trace(input_ids=ids))
    verdict = trace_files.decide_verdict()
    assert (verdict.kind, verdict.reason) == (
        VerdictKind.INVALID,
        "the reference is not valid: its input id 32 is outside the vocabulary of 32",
    )


@pytest.mark.parametrize(
    "sides",
    [
        pytest.param(({"not_captured": dict.fromkeys(Stage, "no hook")}, {}), id="the reference has nothing"),
        pytest.param(
            ({}, {**NOTHING, "not_captured": dict.fromkeys(Stage, "no hook")}), id="the backend has nothing"
        ),
    ],
)
def test_where_nothing_was_compared_nothing_has_passed(
    trace_files: TraceFiles, sides: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    trace_files.write(trace_files.reference, make_trace("transformers", **sides[0]))
    trace_files.write(trace_files.tested, make_trace(**sides[1]))
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.ERROR
    assert verdict.reason.startswith("nothing was compared: ")


def confuse(*_: object) -> NoReturn:
    Span.of("image", 0, [None, 1])  # type: ignore[list-item]
    raise AssertionError("unreachable")


def test_a_comparison_that_raises_costs_its_case_only(
    trace_files: TraceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGE_DIFFS, Stage.SPANS, confuse)
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.HARNESS_ERROR
    first, *frames = verdict.reason.splitlines()
    assert first.startswith("the harness failed while comparing the traces: TypeError: ")
    assert any(line.startswith("  vlm_parity/schema/trace.py, line ") for line in frames)
    assert [diff.stage for diff in verdict.stages] == list(Stage)
    assert {diff.status for diff in verdict.stages} == {DiffStatus.NOT_COMPARED}
    assert (verdict.case, verdict.reference.backend) == ("one_image", "transformers")


def test_a_rule_that_raises_keeps_the_comparison(
    trace_files: TraceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_parity.verdicts.decide.explain_diff", confuse)
    assert trace_files.decide_verdict().kind is VerdictKind.MATCH  # there is nothing to explain
    trace_files.write(trace_files.tested, make_trace(prompt="something else"))
    verdict = trace_files.decide_verdict()
    assert verdict.kind is VerdictKind.HARNESS_ERROR
    assert verdict.reason.startswith("the harness failed while explaining the mismatch: TypeError: ")
    assert verdict.first_divergence is Stage.PROMPT
    assert verdict.stage(Stage.INPUT_IDS).status is DiffStatus.MATCH
