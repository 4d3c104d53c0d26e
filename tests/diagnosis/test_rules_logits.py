"""Why logits and tokens differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.traces import ARRAYS, CONTINUATION, DECODE, FLOOR, PREFILL, TraceFiles, make_trace
from vlm_parity.schema.noise_floor import NoiseFloor, StageNoise
from vlm_parity.schema.verdict import Verdict

DEPENDENT = "differs by engine mode"
OTHER = np.float32(0.01) * np.sin(PREFILL * 40)
MODEL = "language model differs with equal features"


def verdict(trace_files: TraceFiles, changes: dict[str, Any] | None = None, **arrays: np.ndarray) -> Verdict:
    trace_files.write(trace_files.tested, make_trace(**changes or {}), {**ARRAYS, **arrays})
    return trace_files.decide_verdict()


def causes(found: Verdict) -> list[str]:
    return [diagnosis.cause for diagnosis in found.diagnoses]


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_a_temperature_is_reported_with_its_number(trace_files: TraceFiles, temperature: float) -> None:
    found = verdict(trace_files, prefill=(PREFILL / temperature).astype(np.float32))
    assert causes(found)[0] == "logits scaled"
    assert f"a temperature of {temperature:.2g}" in found.diagnoses[0].explanation


@pytest.mark.parametrize("cap", [5.0, 20.0])
def test_a_cap(trace_files: TraceFiles, cap: float) -> None:
    found = verdict(trace_files, prefill=(cap * np.tanh(PREFILL / cap)).astype(np.float32))
    assert causes(found)[0] == "logit softcapping differs"
    assert "vllm compresses large logits" in found.diagnoses[0].explanation


def test_a_coarser_dtype(trace_files: TraceFiles) -> None:
    coarse = (PREFILL.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    found = verdict(trace_files, prefill=coarse)
    assert causes(found)[0] == "logits in lower-precision dtype"
    assert "every logit is a bfloat16 value" in found.diagnoses[0].explanation


def test_a_language_model_that_differs(trace_files: TraceFiles) -> None:
    other = PREFILL.copy()
    other[5:] += np.float32(0.01) * np.sin(PREFILL[5:] * 40)
    found = verdict(trace_files, prefill=other)
    assert causes(found) == [MODEL]
    assert "input_ids, positions, vision match, but the logits differ from position 5 on" in (
        found.diagnoses[0].explanation
    )
    assert "attention scale, mask and rotary base first" in found.diagnoses[0].explanation


def test_a_language_model_that_differs_at_the_first_position(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, prefill=PREFILL + np.float32(0.01) * np.sin(PREFILL * 40))
    assert causes(found) == [MODEL]
    assert "differ from position 0 on: check attention scale and mask, rotary base, norms" in (
        found.diagnoses[0].explanation
    )


def test_what_differs_from_the_first_token_behind_the_prompt_on(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, decode=DECODE + np.float32(0.01) * np.sin(DECODE * 40))
    assert causes(found) == ["decode differs with equal prefill"]


def test_tokens_that_the_logits_do_not_choose(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, {"greedy": (*CONTINUATION[:2], int(DECODE[1].argmax()))})
    assert causes(found) == ["greedy tokens differ with equal logits"]
    assert "greedy token 2 differs" in found.diagnoses[0].explanation


def test_a_token_that_is_not_the_best_of_the_engines_own_logits(trace_files: TraceFiles) -> None:
    found = verdict(trace_files, {"greedy": (*CONTINUATION[:2], int(DECODE[1].argmin()))})
    assert causes(found) == ["greedy token behind in the engine's own logits"]
    assert "Greedy token 2 is" in found.diagnoses[0].explanation


@pytest.mark.parametrize(
    ("alone", "expected"),
    [
        (None, [MODEL, DEPENDENT]),
        ({}, [DEPENDENT, MODEL]),
        ({"prefill": PREFILL + OTHER}, [MODEL]),
    ],
)
def test_another_way_to_run_is_the_cause_where_the_case_matches_alone(
    trace_files: TraceFiles, alone: dict[str, np.ndarray] | None, expected: list[str]
) -> None:
    before = None if alone is None else verdict(trace_files, None, **alone)
    trace_files.write(
        trace_files.tested, make_trace(mode="chunked_prefill"), {**ARRAYS, "prefill": PREFILL + OTHER}
    )
    assert causes(trace_files.decide_verdict(before)) == expected


def test_a_match_needs_no_explanation(trace_files: TraceFiles) -> None:
    assert causes(verdict(trace_files)) == []


def test_a_factor_that_explains_little_is_not_named(trace_files: TraceFiles) -> None:
    """In a coarse dtype a small fault may leave no more than noise allows, whatever is said of it."""
    coarse = {
        stage: StageNoise(noise.rms * 1e5, noise.largest * 1e5) for stage, noise in FLOOR.stages.items()
    }
    trace_files.measured(NoiseFloor(FLOOR.record, coarse))
    other = PREFILL + np.float32(0.2) * np.sin(PREFILL * 40)
    assert causes(verdict(trace_files, prefill=other.astype(np.float32))) == [MODEL]


def test_masked_tokens_are_no_overflow(trace_files: TraceFiles) -> None:
    masked = PREFILL.copy()
    masked[:, 8] = -np.inf
    found = verdict(trace_files, prefill=masked)
    assert causes(found)[0] == "tokens masked in the logits"
    assert "the logit -inf to 1 token: A (8)" in found.diagnoses[0].explanation
    assert "non-finite outputs" not in causes(found)


def test_a_whole_row_without_numbers_is_an_overflow(trace_files: TraceFiles) -> None:
    broken = PREFILL.copy()
    broken[3] = -np.inf
    assert causes(verdict(trace_files, prefill=broken))[0] == "non-finite outputs"


@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_columns_of_the_head_are_named(trace_files: TraceFiles, shift: float) -> None:
    other = PREFILL + np.float32(shift)
    other[:, [8, 11]] += np.sin(PREFILL[:, [8, 11]])
    found = verdict(trace_files, prefill=other)
    assert causes(found)[0] == "logits of single tokens differ"
    assert "the logits of 2 tokens: A (8),  cat (11) differ" in found.diagnoses[0].explanation


def test_a_difference_in_all_tokens_names_none(trace_files: TraceFiles) -> None:
    assert "logits of single tokens differ" not in causes(verdict(trace_files, prefill=PREFILL + OTHER))
