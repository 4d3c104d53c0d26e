"""When the self-check passes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.selfcheck_records import make_fault_row, make_selfcheck
from vlm_parity.selfcheck.record import merge_selfchecks


def test_it_passes_where_everything_is_found() -> None:
    assert make_selfcheck().passes


@pytest.mark.parametrize(
    "missed",
    [{"detected": False, "is_stage_correct": False, "is_cause_correct": False}, {"is_stage_correct": False},
     {"is_cause_correct": False}, {"visible": False}],
)  # fmt: skip
def test_one_fault_that_is_not_as_it_has_to_be_is_enough_in_float32(missed: dict[str, bool]) -> None:
    assert not make_selfcheck(make_fault_row(), make_fault_row(**missed)).passes
    assert make_selfcheck(make_fault_row(), make_fault_row(dtype="bfloat16", **missed)).passes


@pytest.mark.parametrize(
    "changes",
    [
        {"false_alarms": 1},
        {"clean_comparisons": 0},
        {"finished_engines": 0},
        {"problems": ("vllm did not load",)},
        {"faults": ()},
        {"faults": (make_fault_row(dtype="bfloat16"),)},
    ],
)
def test_what_else_keeps_it_from_passing(changes: dict[str, Any]) -> None:
    assert not make_selfcheck(**changes).passes


def test_environments_add_up() -> None:
    both = merge_selfchecks(
        [
            make_selfcheck(packages={"vllm": "1", "torch": "3"}),
            make_selfcheck(make_fault_row(backend="lmdeploy"), packages={"lmdeploy": "2", "torch": "4"}),
        ]
    )
    assert [row.backend for row in both.faults] == ["vllm", "lmdeploy"]
    assert (both.clean_comparisons, both.expected_engines, both.seconds) == (54, 2, 120)
    assert both.packages == {"vllm": "1", "lmdeploy": "2", "torch": "3 and 4"}
    assert both.passes


def test_one_environment_that_fails_fails_them_all() -> None:
    assert not merge_selfchecks([make_selfcheck(), make_selfcheck(false_alarms=1)]).passes


def test_nothing_does_not_pass() -> None:
    assert not merge_selfchecks([]).passes
