"""Faults of single modules: enough of them, in enough families, and each has to be named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.selfcheck_records import make_fault_row, make_selfcheck
from vlm_parity.diagnosis import module_causes
from vlm_parity.models.registry import FAMILIES
from vlm_parity.schema.case_file import load_cases
from vlm_parity.selfcheck.markdown import render_markdown
from vlm_parity.selfcheck.module_faults import CASES, FAULTS
from vlm_parity.selfcheck.page import count_modules
from vlm_parity.selfcheck.record import ModuleRow
from vlm_parity.selfcheck.run import SelfcheckPlan, list_engine_runs

CONVERSATIONS = load_cases(Path(__file__).parents[2] / "cases" / "conversations")
ROW = ModuleRow(
    fault="another bias", backend="vllm", model="qwen2_vl", case="one_image", expected="o_proj output",
    named=("l.0.o_proj output",), is_correct=True, expected_cause=module_causes.BIAS,
    cause=module_causes.BIAS, clean_differences=0, seconds=1,
)  # fmt: skip


def test_names_are_unique_and_patterns_compile() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        re.compile(fault.module)
        re.compile(fault.expected)


def test_causes_families_and_cases_exist() -> None:
    causes = {value for name, value in vars(module_causes).items() if name.isupper() and name[0] != "_"}
    assert {fault.cause for fault in FAULTS} <= causes
    for cases in CASES.values():
        assert set(cases) <= set(FAMILIES)
        assert set(cases.values()) <= set(CONVERSATIONS)


@pytest.mark.parametrize("backend", CASES)
def test_each_engine_gets_30_faults_in_five_families(backend: str) -> None:
    runs = [
        run for run in list_engine_runs(SelfcheckPlan(backend, ("float32", "bfloat16"))) if run.module_faults
    ]
    assert {run.dtype for run in runs} == {"float32"}
    assert len({run.model for run in runs}) == len(runs) >= 5
    assert sum(len(run.module_faults) for run in runs) >= 30
    for run in runs:
        if CASES[backend][run.model] == "text_only":
            assert not any(fault.needs_image for fault in run.module_faults)


def test_a_pattern_selects_faults_of_modules_too() -> None:
    (run,) = list_engine_runs(
        SelfcheckPlan("vllm", ("float32",), models=("internvl",), pattern="another bias of the queries")
    )
    assert [fault.name for fault in run.module_faults] == ["another bias of the queries"]
    assert not run.faults


@pytest.mark.parametrize(
    "changes",
    [{"is_correct": False, "named": ()}, {"cause": module_causes.PROJECTION}],
    ids=["another module", "another cause"],
)
def test_a_fault_that_is_not_named_fails_the_selfcheck(changes: dict[str, object]) -> None:
    assert make_selfcheck(make_fault_row(), modules=(ROW,)).passes
    assert not make_selfcheck(make_fault_row(), modules=(ROW.model_copy(update=changes),)).passes


def test_modules_are_counted_and_tabulated() -> None:
    check = make_selfcheck(make_fault_row(), modules=(ROW, ROW.model_copy(update={"cause": ""})))
    counts = count_modules(check)
    assert (counts.rows, counts.named, counts.caused) == (2, 2, 1)
    assert "| another bias | vllm: qwen2_vl | another bias | 1 of 2 |" in render_markdown(check)
