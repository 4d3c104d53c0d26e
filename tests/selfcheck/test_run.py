"""What is planted where, and that every fault asks for something that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_parity.backends.registry import load_backend_class
from vlm_parity.diagnosis.registry import list_causes
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.schema.engine_setup import DEFAULT_MODE
from vlm_parity.selfcheck.controls import CLEAN_CONTROLS
from vlm_parity.selfcheck.fault import Fault
from vlm_parity.selfcheck.registry import FAULTS
from vlm_parity.selfcheck.run import CLEAN_CASES, SKIPPED_MODELS, SelfcheckPlan, list_engine_runs

CASES = load_cases(Path(__file__).parents[2] / "cases" / "conversations")


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 24


def test_no_two_have_the_same_name() -> None:
    names = [one.name for one in (*FAULTS, *CLEAN_CONTROLS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_asks_for_what_is_there(fault: Fault) -> None:
    assert set(fault.models) <= set(FAMILIES)
    assert set(fault.cases) <= set(CASES)
    assert fault.models
    assert fault.cases
    assert fault.cause in list_causes()
    for backend in fault.injectors:
        assert fault.mode in (DEFAULT_MODE, *load_backend_class(backend).modes)


def test_every_stage_but_one_that_needs_none_has_a_fault() -> None:
    assert {fault.stage for fault in FAULTS} == {
        "prompt", "input_ids", "spans", "media", "positions", "vision", "prefill", "decode", "greedy",
    }  # fmt: skip


def test_float32_comes_first_for_the_size_of_a_fault_is_taken_from_it() -> None:
    dtypes = [one.dtype for one in list_engine_runs(SelfcheckPlan("vllm", ("float32", "bfloat16")))]
    assert dtypes == sorted(dtypes, reverse=True)
    assert set(dtypes) == {"float32", "bfloat16"}


def test_an_engine_is_loaded_once_for_all_its_faults() -> None:
    rounds = [
        (one.model, one.dtype, one.mode) for one in list_engine_runs(SelfcheckPlan("vllm", ("float32",)))
    ]
    assert len(set(rounds)) == len(rounds)


def test_an_engine_that_differs_by_itself_is_left_out() -> None:
    assert (
        not {("lmdeploy", one.model) for one in list_engine_runs(SelfcheckPlan("lmdeploy", ("float32",)))}
        & SKIPPED_MODELS
    )


def test_a_selection_plants_what_was_asked_for() -> None:
    (one,) = list_engine_runs(SelfcheckPlan("vllm", ("float32",), models=("qwen3_vl",), pattern="rope*"))
    assert (one.model, [fault.name for fault in one.faults]) == (
        "qwen3_vl",
        ["rope theta left at its default"],
    )


def test_a_quick_one_leaves_the_modes_out() -> None:
    assert {one.mode for one in list_engine_runs(SelfcheckPlan("vllm", ("float32",), modes=False))} == {
        DEFAULT_MODE
    }


def test_the_clean_cases_are_there() -> None:
    assert set(CLEAN_CASES) <= set(CASES)
