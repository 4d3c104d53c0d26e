"""The faults of the self-check and the engine loads that they need."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.diagnosis.registry import load_rules
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.schema.trace import Stage
from vlm_parity.selfcheck.controls import CLEAN_CONTROLS
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import CLEAN_CASES, SKIPPED_MODELS, SelfcheckPlan, list_engine_runs
from vlm_parity.selfcheck.second_faults import DIFFERING_CASES, DifferingCase
from vlm_parity.verdicts.known_issues import read_known_issues

FOLDER = Path(__file__).parents[2] / "cases"
CASES = load_cases(FOLDER / "conversations")
KNOWN_ISSUES = read_known_issues(FOLDER / "known_issues.toml")


def test_names_are_unique() -> None:
    names = [fault.name for fault in FAULTS] + [control.name for control in CLEAN_CONTROLS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_names_existing_models_cases_causes_and_modes(fault: Fault) -> None:
    assert set(fault.models) <= set(FAMILIES)
    assert set(fault.cases) <= set(CASES)
    assert fault.models
    assert fault.cases
    assert fault.cause in {rule.cause for rule in load_rules() if fault.stage in rule.stages}
    for backend in fault.injectors:
        assert fault.mode in (DEFAULT_MODE, *load_backend_class(backend).modes)


def test_every_stage_except_encoder_budget_has_a_fault() -> None:
    assert {fault.stage for fault in FAULTS} == {
        "prompt", "input_ids", "spans", "media", "positions", "vision", "prefill", "decode", "greedy",
    }  # fmt: skip


def test_float32_comes_first() -> None:
    # The effects that are measured in it decide on the visibility in the others.
    dtypes = [run.dtype for run in list_engine_runs(SelfcheckPlan("vllm", ("float32", "bfloat16")))]
    assert dtypes == sorted(dtypes, reverse=True)
    assert set(dtypes) == {"float32", "bfloat16"}


def test_an_engine_is_loaded_once_for_all_its_faults() -> None:
    runs = [(run.model, run.dtype, run.mode) for run in list_engine_runs(SelfcheckPlan("vllm", ("float32",)))]
    assert len(set(runs)) == len(runs)


def test_the_default_mode_of_a_model_comes_first() -> None:
    runs = list(list_engine_runs(SelfcheckPlan("vllm", ("float32",))))
    first = {run.model: run.mode for run in reversed(runs)}
    assert {run.mode for run in runs} > {DEFAULT_MODE}
    assert {first[run.model] for run in runs if run.mode != DEFAULT_MODE} == {DEFAULT_MODE}


def test_pairs_that_mismatch_without_a_fault_get_second_faults_only() -> None:
    runs = list(list_engine_runs(SelfcheckPlan("lmdeploy", ("float32",))))
    skipped = [run for run in runs if ("lmdeploy", run.model) in SKIPPED_MODELS]
    assert skipped
    for run in skipped:
        assert not run.faults
        assert run.second_faults


@pytest.mark.parametrize("backend", ["vllm", "lmdeploy"])
def test_second_faults_are_behind_known_differences_in_the_default_mode(backend: str) -> None:
    order = list(Stage)
    for run in list_engine_runs(SelfcheckPlan(backend, ("float32",))):
        for fault, case in run.second_faults:
            assert run.mode == fault.mode == DEFAULT_MODE
            assert case in DIFFERING_CASES[backend, run.model]
            assert order.index(fault.stage) > order.index(case.stage)


@pytest.mark.parametrize("backend", ["vllm", "lmdeploy"])
def test_each_engine_gets_30_second_faults_in_5_families(backend: str) -> None:
    runs = list(list_engine_runs(SelfcheckPlan(backend, ("float32",))))
    assert sum(len(run.second_faults) for run in runs) >= 30
    assert len({run.model for run in runs if run.second_faults}) >= 5


def test_the_vision_tower_is_checked_behind_media_only_where_an_engine_can_be_given_them() -> None:
    behind = {
        (backend, case.has_equal_spans)
        for backend in ("vllm", "lmdeploy")
        for run in list_engine_runs(SelfcheckPlan(backend, ("float32",)))
        for fault, case in run.second_faults
        if fault.stage is Stage.VISION
    }
    assert behind == {("vllm", True)}


def test_further_families_of_a_fault_get_it_behind_a_difference_only() -> None:
    (run,) = list_engine_runs(SelfcheckPlan("vllm", ("float32",), models=("llava",), pattern="two rows*"))
    assert run.faults == ()
    assert [(fault.name, case.name) for fault, case in run.second_faults] == [
        ("two rows of the head are wrong", "one_image")
    ]


def test_a_fault_that_only_its_own_case_shows_is_not_injected_behind_a_difference() -> None:
    (run,) = list_engine_runs(SelfcheckPlan("vllm", ("float32",), pattern="vision attention without windows"))
    assert run.faults
    assert run.second_faults == ()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.models_behind], ids=lambda f: f.name)
def test_each_further_family_has_a_case_that_differs(fault: Fault) -> None:
    assert not set(fault.models) & set(fault.models_behind)
    runs = [
        run
        for backend in fault.injectors
        for run in list_engine_runs(SelfcheckPlan(backend, ("float32",), pattern=fault.name))
    ]
    assert {run.model for run in runs if run.second_faults} >= set(fault.models_behind)


def test_a_difference_within_the_noise_of_bfloat16_is_left_out_in_it() -> None:
    plan = SelfcheckPlan("lmdeploy", ("float32", "bfloat16"), models=("qwen2_vl",))
    cases = {run.dtype: {case.name for _, case in run.second_faults} for run in list_engine_runs(plan)}
    assert cases == {"float32": {"one_image", "two_texts"}, "bfloat16": {"two_texts"}}


@pytest.mark.parametrize(
    ("backend", "model", "case"),
    [(*pair, case) for pair, cases in DIFFERING_CASES.items() for case in cases],
    ids=lambda value: value.name if isinstance(value, DifferingCase) else value,
)
def test_each_difference_is_a_known_issue(backend: str, model: str, case: DifferingCase) -> None:
    assert case.name in CASES
    assert any(
        issue.backend == backend
        and issue.stage == case.stage
        and any(fnmatchcase(model, pattern) for pattern in issue.model)
        and any(fnmatchcase(case.name, pattern) for pattern in issue.case)
        for issue in KNOWN_ISSUES
    )


def test_models_and_faults_can_be_selected() -> None:
    (run,) = list_engine_runs(SelfcheckPlan("vllm", ("float32",), models=("qwen3_vl",), pattern="rope*"))
    assert (run.model, [fault.name for fault in run.faults]) == (
        "qwen3_vl",
        ["rope theta left at its default"],
    )


def test_modes_can_be_left_out() -> None:
    runs = list_engine_runs(SelfcheckPlan("vllm", ("float32",), modes=False))
    assert {run.mode for run in runs} == {DEFAULT_MODE}


def test_the_clean_cases_exist() -> None:
    assert set(CLEAN_CASES) <= set(CASES)
